"""Projects: code that lies in somebody's own folder, beside its settings and data, and not among installed packages.

Such code finds its surroundings from its own place (``BASE_DIR = Path(__file__).resolve().parent.parent``). So a
snapshot has to hold it at a place like its own, with the same neighbours (trapd/generations/mirror.py); what is
installed in a site-packages has no surroundings of its own, and goes into one folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from trapd.folders import LOOK, Files, Folder, single, split
from trapd.watch.ignore import ignored
from trapd.watch.sites import Site, is_installed
from trapd.watch.tree import walk

# Beside the code of a project, and none of its service: a change of one is no reason for new workers.
_NOT_OF_THE_SERVICE = frozenset({"conftest", "docs", "noxfile", "setup", "test", "tests"})
LARGEST = 64 << 20  # bytes of a package that nobody named: what is larger holds data, and stays where it is
_DECLARATIONS = (b"extend_path(", b"declare_namespace(")  # of pkgutil and pkg_resources


def placed(files: Files, metadata: str) -> Iterator[tuple[str, Folder]]:
    """With the files of each folder the import root that they lie below, absolute; "" for what is installed, or lies
    under another name than it is imported by. ``metadata``: name of the distribution's metadata folder or file.

    Where all files lie elsewhere by way of links (a link to a package, setuptools' strict mode), that is their place:
    programs resolve ``__file__`` before they look around. A package of which parts lie in several places (built
    extensions) is put together, as an installer would do it: it has no surroundings of its own.
    """
    scattered = _scattered(folder for folder in files.folders if not is_in_metadata(folder, metadata))
    real = {root for folder in files.folders if not is_in_metadata(folder, metadata) for root in _real_roots(folder)}
    elsewhere = real.pop() if len(real) == 1 else None
    for folder in files.folders:
        root = None if folder.called else _root(folder.source, folder.path)
        if _around(folder.path, scattered):
            yield "", folder
        elif (
            not is_in_metadata(folder, metadata)
            and elsewhere is not None
            and elsewhere != root
            and not is_installed(elsewhere)
        ):
            yield from ((str(elsewhere), there) for there in _resolved(folder))
        else:
            yield ("" if root is None or is_installed(root) else str(root)), folder


def _scattered(folders: Iterable[Folder]) -> set[str]:
    """Packages of which parts lie below several import roots, and no links lead there."""
    of_code = [folder for folder in folders if folder.path and not folder.links]
    roots: dict[str, set[Path | None]] = {}  # of packages that lie in no other one
    for folder in sorted(of_code, key=lambda folder: folder.path):
        if has_init(folder.all_names) and not _around(folder.path, roots):
            roots[folder.path] = set()
    for folder in of_code:
        if package := _around(folder.path, roots):
            roots[package].add(None if folder.called else _root(folder.source, folder.path))
    return {package for package, found in roots.items() if len(found) > 1}


def _around(path: str, packages: Collection[str]) -> str | None:
    """That of the packages which the folder is in."""
    while path and path not in packages:
        path = path.rpartition("/")[0]
    return path or None


def _real_roots(folder: Folder) -> set[Path | None]:
    """The import roots that its files lie below once all links are resolved."""
    roots = set[Path | None]()
    if len(folder) > len(folder.links):
        roots.add(None if folder.called else _root(os.path.realpath(folder.source), folder.path))
    for name in folder.links:
        real, path = os.path.realpath(f"{folder.source}/{folder.called or name}"), f"{folder.path}/{name}".lstrip("/")
        roots.add(Path(real.removesuffix(f"/{path}") or "/") if real.endswith(f"/{path}") else None)
    return roots


def _resolved(folder: Folder) -> Iterator[Folder]:
    """The same files where they really are."""
    if not folder.links:
        yield replace(folder, source=os.path.realpath(folder.source))
        return
    for file in folder:
        yield single(replace(file, source=os.path.realpath(file.source)))


def has_init(names: Iterable[str]) -> bool:
    """Whether a folder with these files is a package by itself."""
    return any(name.startswith("__init__.") for name in names)


def is_in_metadata(folder: Folder, metadata: str) -> bool:
    """Whether the folder is, or has, the metadata of its distribution, or is in it."""
    top = folder.path.partition("/")[0] if folder.path else folder.text
    return bool(metadata) and top == metadata


def _root(source: str, path: str) -> Path | None:
    """The import root of a folder that is at ``path`` below it."""
    if not path:
        return Path(source)
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
    looks = (look for folder in walk(package, "", compiled=False).files for look in split(folder.looks))
    sizes: Iterator[int] = (LOOK.unpack(look)[2] for look in looks)
    return sum(sizes) > LARGEST


def is_namespace(package: Path) -> bool:
    """Whether its ``__init__`` says that other distributions may have a part of it, in other places."""
    try:
        text = (package / "__init__.py").read_bytes()
    except OSError:
        return False
    return any(declaration in text for declaration in _DECLARATIONS)
