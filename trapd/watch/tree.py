"""Walks a folder of code: the files that make it up, its folders, and what somebody at work has left between them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from trapd.watch.ignore import ignored, is_no_code


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to copy. One that is not counted may change without making the code another."""

    path: str  # relative to the import root, with "/"
    source: str
    counted: bool = True


@dataclass(slots=True)
class Tree:
    """What a walk found."""

    files: list[SourceFile] = field(default_factory=list)
    folders: set[tuple[str, int]] = field(default_factory=set)  # path and inode: another inode is another folder
    links: list[Path] = field(default_factory=list)  # to files and folders
    litter: list[str] = field(default_factory=list)  # half-installed: dpkg's *.dpkg-new, pip's stash of a sub-folder


def walk(top: Path, prefix: str, *, compiled: bool) -> Tree:
    """Everything below ``top`` that matters; its files get paths below ``prefix``. Raises OSError if it vanishes.

    ``compiled``: take the .pyc files in __pycache__ along, uncounted. Links to folders are followed, but not back into
    a folder that they are in: one of two names is as good as the other, and the code may use both.
    """
    tree = Tree()
    waiting: list[tuple[Path, str, frozenset[Path]]] = [(top, prefix, frozenset())]
    while waiting:
        folder, path, above = waiting.pop()
        inode = folder.stat().st_ino
        if (real := folder.resolve()) in above:
            continue
        tree.folders.add((str(real), inode))
        with os.scandir(folder) as entries:
            for entry in entries:
                name, here = entry.name, f"{path}/{entry.name}"
                if entry.is_dir():
                    if name == "__pycache__" and compiled:
                        tree.files += _compiled(Path(entry.path), here)
                    elif name.startswith("~"):
                        tree.litter.append(entry.path)
                    elif not ignored(name):
                        if entry.is_symlink():
                            tree.links.append(Path(entry.path))
                        waiting.append((Path(entry.path), here, above | {real}))
                elif name.endswith(".dpkg-new"):
                    tree.litter.append(entry.path)
                elif name.endswith(".pyc"):
                    if is_sourceless(Path(entry.path)):
                        tree.files.append(SourceFile(here, entry.path))
                    elif compiled:
                        tree.files.append(SourceFile(here, entry.path, counted=False))
                elif not ignored(name) and entry.is_file():
                    tree.files.append(SourceFile(here, entry.path, counted=not is_no_code(name)))
                    if entry.is_symlink():
                        tree.links.append(Path(entry.path))
    return tree


def is_sourceless(path: Path) -> bool:
    """Whether this .pyc is a module itself: Python imports one that lies where its source would, if there is none."""
    return path.suffix == ".pyc" and path.parent.name != "__pycache__" and not path.with_suffix(".py").exists()


def _compiled(cache: Path, path: str) -> list[SourceFile]:
    """Python writes these under a temporary name first, so a whole name is a whole file."""
    found = (file for file in cache.iterdir() if file.suffix == ".pyc")
    return [SourceFile(f"{path}/{file.name}", str(file), counted=False) for file in found]
