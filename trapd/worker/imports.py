"""The snapshot, and nothing else, is where watched packages come from; and what came from elsewhere all the same."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping, MutableSet, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

# Where finders of editable installs keep which packages they serve: setuptools, `editables` (hatch, flit, pdm),
# scikit-build-core, meson-python. Tables of the finder itself, or of its module.
_TABLES = ("MAPPING", "NAMESPACES", "_redirections", "known_source_files", "known_wheel_files", "_top_level_modules")


def put_first(folders: Sequence[Path]) -> None:
    """Make these the first entries of sys.path, and the working directory its last.

    Celery puts the working directory first for as long as it imports task modules, unless it is on the path already:
    started in the wrong folder, a worker would load its tasks from there.
    """
    first = [str(folder) for folder in folders]
    sys.path[:] = first + [entry for entry in sys.path if entry not in first]
    with contextlib.suppress(FileNotFoundError):  # a working directory that was removed
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)


def forget(packages: Iterable[str], code: Sequence[Path]) -> tuple[str, ...]:
    """Unload modules of these packages that start-up files (.pth, sitecustomize) have imported from elsewhere.

    The next import then gets those of the snapshot. Returns their names. What the start-up file has taken out of them
    it keeps.
    """
    found = [stray.partition("=")[0] for stray in strays(packages, code)]
    for name in found:
        del sys.modules[name]
    return tuple(found)


def blind_finders(packages: Iterable[str], code: Sequence[Path] = ()) -> None:
    """Make editable installs' finders forget these packages, and drop the finders that then serve none.

    They stand on sys.meta_path and on sys.path_hooks. A snapshot that lacks a module would otherwise get the installed
    one from them, of whatever version. Of other packages they go on knowing what they knew, and so of the part that
    another distribution has of a package: where the one in ``code`` says that there are such parts.
    """
    names = frozenset(packages)
    finders = [*sys.meta_path, *map(_owner, sys.path_hooks)]

    def is_ours(name: str) -> bool:
        return _among(name, names) and (holds(code, name) or not is_shared(code, name))

    forgetful = {id(table) for finder in finders for table in _tables(finder) if _forget(table, is_ours)}

    def serves_somebody(finder: Any) -> bool:
        tables = list(_tables(finder))
        return any(tables) or not any(id(table) in forgetful for table in tables)

    sys.meta_path[:] = [finder for finder in sys.meta_path if serves_somebody(finder)]
    sys.path_hooks[:] = [hook for hook in sys.path_hooks if serves_somebody(_owner(hook))]
    sys.path_importer_cache.clear()


def _among(module: str, names: frozenset[str]) -> bool:
    """Whether it is one of these packages or lies in one; a package may have dots: ``ns.trap`` of a namespace."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _owner(hook: Any) -> Any:
    return getattr(hook, "__self__", hook)


def _forget(table: MutableMapping[str, Any] | MutableSet[str], is_ours: Callable[[str], bool]) -> bool:
    """Whether the table knew one of our packages."""
    known = [name for name in table if is_ours(str(name))]
    for name in known:
        if isinstance(table, MutableSet):
            table.discard(name)
        else:
            del table[name]
    return bool(known)


def _tables(finder: Any) -> Iterator[MutableMapping[str, Any] | MutableSet[str]]:
    module = sys.modules.get(getattr(finder, "__module__", ""))
    for owner in (finder, module):
        for name in _TABLES:
            table = getattr(owner, name, None)
            if isinstance(table, MutableMapping | MutableSet):
                yield table


def strays(packages: Iterable[str], code: Sequence[Path], installed: Iterable[Path] = ()) -> tuple[str, ...]:
    """Loaded modules of these packages that should have come from ``code`` and did not, as ``trap.x=/where/it/is.py``.

    Only modules with a file count: a package without one is a namespace, of which others may have a part elsewhere. Of
    what no folder of ``code`` holds, only what would be part of a watched distribution does: a namespace may be one by
    pkgutil.extend_path as well, and a program may load its plugins from anywhere under any name. Whatever comes from
    a folder of ``installed``, or is such a file, is a stray, of whichever package: the generation has a copy of it.
    """
    names = frozenset(packages)
    tops = {name.partition(".")[0] for name in names}
    inside = tuple(str(path) + os.sep for folder in code for path in {folder, folder.resolve()})
    outside = frozenset(map(str, installed))
    below = tuple(path + os.sep for path in outside)
    own = _Own(code, names)
    found = []
    for name, module in list(sys.modules.items()):  # a copy, made in one step: others may be importing meanwhile
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None  # past its own __getattr__
        if not isinstance(file, str) or file.startswith(inside):
            continue
        ours = name.partition(".")[0] in tops and (holds(code, name) or own.has(name, file))
        if ours or file in outside or file.startswith(below):
            found.append(f"{name}={file}")
    return tuple(sorted(found))


def holds(code: Iterable[Path], name: str) -> bool:
    """Whether one of these folders has this module, as a package with an ``__init__`` or as a file."""
    for folder in code:
        stem = folder.joinpath(*name.split("."))
        if any(stem.glob("__init__.*")) or any(stem.parent.glob(f"{glob.escape(stem.name)}.*")):
            return True
    return False


class _Own:
    """Tells whether a module that a snapshot lacks would be part of what it holds, in another version."""

    def __init__(self, code: Sequence[Path], packages: frozenset[str]) -> None:
        self._code, self._packages = code, packages

    def has(self, name: str, file: str) -> bool:
        if _among(name, self._packages) and not is_shared(self._code, name):  # who has the package has all of it
            return str(Path(file).with_suffix("")).removesuffix("/__init__").endswith(f"/{name.replace('.', '/')}")
        return file in self._listed or any(file.startswith(original) for original in self._originals)

    @cached_property
    def _originals(self) -> list[str]:
        """Projects' own folders: the copy of one is below ``tree`` under its whole path."""
        parts = [str(folder).rpartition(f"{os.sep}tree{os.sep}") for folder in self._code]
        return [f"{os.sep}{original}{os.sep}" for _, found, original in parts if found]

    @cached_property
    def _listed(self) -> frozenset[str]:
        """All files that the RECORD of an installed distribution lists which is in the snapshot, too."""
        elsewhere = [entry for entry in sys.path if Path(entry) not in self._code]
        held = {str(found.metadata["Name"]) for found in metadata.distributions(path=list(map(str, self._code)))}
        found = [one for name in held for one in metadata.distributions(name=name, path=elsewhere)]
        return frozenset(str(one.locate_file(file)) for one in found for file in one.files or ())


def is_shared(code: Iterable[Path], name: str) -> bool:
    """Whether a package around this module says, in the words of pkgutil or pkg_resources, that others have a part."""
    parts = name.split(".")
    return any(_declares(folder.joinpath(*parts[:count])) for folder in code for count in range(1, len(parts)))


def _declares(package: Path) -> bool:
    try:
        text = (package / "__init__.py").read_bytes()
    except OSError:
        return False
    return b"extend_path(" in text or b"declare_namespace(" in text
