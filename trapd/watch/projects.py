"""Projects: code that lies in somebody's own folder, beside its settings and data, and not among installed packages.

Such code finds its surroundings from its own place (``BASE_DIR = Path(__file__).resolve().parent.parent``). So a
snapshot has to hold it at a place like its own, with the same neighbours (trapd/generations/mirror.py); what is
installed in a site-packages has no surroundings of its own, and goes into one folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trapd.watch.ignore import ignored
from trapd.watch.sites import Site, is_installed
from trapd.watch.tree import SourceFile, walk

# Beside the code of a project, and none of its service: a change of one is no reason for new workers.
_NOT_OF_THE_SERVICE = frozenset({"conftest", "docs", "noxfile", "setup", "test", "tests"})
LARGEST = 64 << 20  # bytes of a package that nobody named: what is larger holds data, and stays where it is
_DECLARATIONS = (b"extend_path(", b"declare_namespace(")  # of pkgutil and pkg_resources


def placed(files: Iterable[SourceFile], metadata: str) -> Iterator[tuple[str, SourceFile]]:
    """With each file the import root that it lies below, absolute; "" for one that is installed, or lies under another
    name than it is imported by. ``metadata``: name of the distribution's metadata folder or file.

    Where all files lie elsewhere by way of links (a link to a package, setuptools' strict mode), that is their place:
    programs resolve ``__file__`` before they look around.
    """
    files = list(files)
    named = [_root(file.source, file.path) for file in files]
    real = {_root(os.path.realpath(file.source), file.path) for file in files if not _is_in(file.path, metadata)}
    elsewhere = real.pop() if len(real) == 1 else None
    for file, root in zip(files, named, strict=True):
        if _is_in(file.path, metadata):
            yield ("" if root is None or is_installed(root) else str(root)), file
        elif elsewhere is not None and elsewhere != root and not is_installed(elsewhere):
            yield str(elsewhere), SourceFile(file.path, os.path.realpath(file.source), file.counted)
        else:
            yield ("" if root is None or is_installed(root) else str(root)), file


def _is_in(path: str, metadata: str) -> bool:
    return bool(metadata) and path.partition("/")[0] == metadata


def _root(source: str, path: str) -> Path | None:
    return Path(source.removesuffix(f"/{path}") or "/") if source.endswith(f"/{path}") else None


def modules(site: Site) -> Iterator[str]:
    """What else is imported from a project's folder: its other packages and modules, which belong to the service too.

    Folders without an ``__init__`` may be anything, and are none of them. Raises OSError if something vanishes.
    """
    stems: dict[str, None] = {}
    for name in sorted(site.names):
        stem, dot, suffix = name.partition(".")
        of_service = stem.isidentifier() and stem not in _NOT_OF_THE_SERVICE and not stem.startswith("test_")
        if of_service and not ignored(name) and _is_module(site.path / name, dot + suffix):
            stems[stem] = None
    yield from stems


def left_out(site: Site) -> Iterator[str]:
    """Folders of a project that hold Python code and are none of its modules: without an ``__init__``, or too large.

    Raises OSError if something vanishes.
    """
    taken = set(modules(site))
    for name in sorted(name for name in site.names if name.isidentifier() and name not in taken):
        folder = site.path / name
        code = any(folder.glob("*.py")) or any(folder.glob("*/__init__.py"))
        if code and name not in _NOT_OF_THE_SERVICE and not ignored(name) and not (folder / "pyvenv.cfg").exists():
            yield name


def packages(site: Site) -> list[str]:
    """The packages directly in a folder; where there is none, the namespaces, which have packages in them."""
    regular = sorted(name for name in site.names if (site.path / name / "__init__.py").is_file())
    return regular or sorted(
        name for name in site.names if name.isidentifier() and any((site.path / name).glob("*/__init__.py"))
    )


def _is_module(path: Path, suffix: str) -> bool:
    if not suffix:
        return any((path / f"__init__{end}").is_file() for end in (".py", ".pyc")) and not is_large(path)
    return suffix.endswith((".py", ".so")) and path.is_file()


def is_large(package: Path) -> bool:
    """Whether so much lies in it that most of it can be no code. Raises OSError if something vanishes."""
    return sum(Path(file.source).stat().st_size for file in walk(package, "", compiled=False).files) > LARGEST


def is_namespace(package: Path) -> bool:
    """Whether its ``__init__`` says that other distributions may have a part of it, in other places."""
    try:
        text = (package / "__init__.py").read_bytes()
    except OSError:
        return False
    return any(declaration in text for declaration in _DECLARATIONS)
