"""The snapshot, and nothing else, is where watched packages come from; and what came from elsewhere all the same."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, MutableMapping, MutableSet, Sequence
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


def forget(packages: Iterable[str], code: Path) -> tuple[str, ...]:
    """Unload modules of these packages that start-up files (.pth, sitecustomize) have imported from elsewhere.

    The next import then gets those of the snapshot. Returns their names. What the start-up file has taken out of them
    it keeps.
    """
    found = [stray.partition("=")[0] for stray in strays(packages, code)]
    for name in found:
        del sys.modules[name]
    return tuple(found)


def blind_finders(packages: Iterable[str]) -> None:
    """Make editable installs' finders forget these packages, and drop the finders that then serve none.

    They stand on sys.meta_path and on sys.path_hooks. A snapshot that lacks a module would otherwise get the installed
    one from them, of whatever version. Of other packages they go on knowing what they knew.
    """
    names = frozenset(packages)
    finders = [*sys.meta_path, *map(_owner, sys.path_hooks)]
    forgetful = {id(table) for finder in finders for table in _tables(finder) if _forget(table, names)}

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


def _forget(table: MutableMapping[str, Any] | MutableSet[str], names: frozenset[str]) -> bool:
    """Whether the table knew one of these packages."""
    known = [name for name in table if _among(str(name), names)]
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


def strays(packages: Iterable[str], code: Path) -> tuple[str, ...]:
    """Loaded modules of these packages that do not come from ``code``, as ``trap.x=/where/it/is.py``."""
    names = frozenset(packages)
    inside = tuple(str(path) + os.sep for path in {code, code.resolve()})
    found = []
    for name, module in list(sys.modules.items()):  # a copy, made in one step: others may be importing meanwhile
        if _among(name, names) and isinstance(module, ModuleType):
            found += [f"{name}={place}" for place in _places(module) if not place.startswith(inside)]
    return tuple(sorted(found))


def _places(module: ModuleType) -> list[str]:
    """The module's file; of a package without one, its folders. Read past a module's own ``__getattr__``."""
    inner = vars(module)
    if isinstance(inner.get("__file__"), str):
        return [inner["__file__"]]
    return [str(place) for place in inner.get("__path__", ()) if not str(place).startswith("__editable__")]
