"""A project's folder as its code finds it around itself: what is code is a copy, all else a link to the original.

A program finds its ``.env``, its database and its media from ``__file__``, and so from the copy of its code: two levels
up, or a folder beside the project. So a copy lies below ``tree/`` under its whole path, and gets the neighbours of the
original. They are links: secrets and data are not copied, and what is written there is written in the one true place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trapd.generations.copying import CACHE

TREE = "tree"
ABOVE = 2  # folders above the one that is imported from; `src`, which holds nothing but code, does not count


def home(root: str) -> str:
    """Where in a snapshot the copy of this folder is."""
    return TREE + root.rstrip("/")


def originals(import_path: Iterable[str]) -> tuple[str, ...]:
    """The projects' folders that are in a snapshot, told by its import path: the reverse of ``home``."""
    return tuple(place.removeprefix(TREE) or "/" for place in import_path if f"{place}/".startswith(f"{TREE}/"))


def link_neighbours(snapshot: Path, roots: Iterable[str]) -> None:
    """Give the copied code its neighbours, once all of it is there. Raises OSError."""
    for folder in sorted({folder for root in roots for folder in _around(snapshot, Path(root))}):
        copy = snapshot / home(str(folder))
        copy.mkdir(parents=True, exist_ok=True)
        for name in _names(folder):
            if name != CACHE and not os.path.lexists(copy / name):
                (copy / name).symlink_to(folder / name)


def is_neighbour(snapshot: Path, path: Path) -> bool:
    """Whether this link in a snapshot is one that ``link_neighbours`` makes."""
    original = f"/{path.relative_to(snapshot / TREE)}" if path.is_relative_to(snapshot / TREE) else None
    return path.is_symlink() and str(path.readlink()) == original


def _around(snapshot: Path, root: Path) -> Iterator[Path]:
    """The folder, so many above it, and those in it that are not whole: namespaces, of which others have a part."""
    above = ABOVE + (root.name == "src")
    yield from [root, *root.parents][: above + 1]
    yield from _shared(snapshot / home(str(root)), root)


def _shared(copy: Path, original: Path) -> Iterator[Path]:
    for inner in sorted(copy.iterdir()) if copy.is_dir() else []:
        if inner.is_dir() and not inner.is_symlink() and not any(inner.glob("__init__.*")):
            yield original / inner.name
            yield from _shared(inner, original / inner.name)


def _names(folder: Path) -> list[str]:
    """Of a folder that is gone, or that we may not read, none: then they cannot be found by the code either."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []
