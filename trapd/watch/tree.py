"""Walks a folder of code: the files that make it up, its folders, and what somebody at work has left between them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trapd.folders import Folder, folder, look
from trapd.watch.ignore import ignored, is_no_code


@dataclass(slots=True)
class Tree:
    """What a walk found."""

    files: list[Folder] = field(default_factory=list)
    folders: set[tuple[str, int]] = field(default_factory=set)  # path and inode: another inode is another folder
    links: list[Path] = field(default_factory=list)  # to files and folders
    litter: list[str] = field(default_factory=list)  # half-installed: dpkg's *.dpkg-new, pip's stash of a sub-folder


def walk(top: Path, prefix: str, *, compiled: bool) -> Tree:
    """Everything below ``top`` that matters; its files get paths below ``prefix``. Raises OSError if it vanishes.

    ``compiled``: take the .pyc files in __pycache__ along, uncounted. Links to folders are followed, but not back into
    a folder that they are in: one of two names is as good as the other, and the code may use both.
    """
    tree = Tree()
    waiting = [(str(top), os.path.realpath(top), prefix, frozenset[str]())]
    while waiting:
        here, real, path, above = waiting.pop()
        if real in above:
            continue
        tree.folders.add((real, os.stat(here).st_ino))  # noqa: PTH116
        for inner, is_link in _list(here, path, tree, compiled=compiled):
            source = f"{here}/{inner}"
            below = os.path.realpath(source) if is_link else f"{real.rstrip('/')}/{inner}"
            waiting.append((source, below, f"{path}/{inner}", above | {real}))
    return tree


def _list(here: str, path: str, tree: Tree, *, compiled: bool) -> list[tuple[str, bool]]:
    """Take note of what is directly in a folder. Returns the folders to walk, by name, and whether each is a link."""
    inner, counted, free, links = list[tuple[str, bool]](), list[tuple[str, bytes]](), list[str](), set[str]()
    with os.scandir(here) as entries:
        for entry in entries:
            name = entry.name
            if entry.is_dir():
                if name == "__pycache__" and compiled:
                    _compiled(entry.path, f"{path}/{name}", tree)
                elif name.startswith("~"):
                    tree.litter.append(entry.path)
                elif not ignored(name):
                    inner.append((name, entry.is_symlink()))
                    if entry.is_symlink():
                        tree.links.append(Path(entry.path))
            elif name.endswith(".dpkg-new"):
                tree.litter.append(entry.path)
            elif name.endswith(".pyc"):
                if is_sourceless(Path(entry.path)):
                    counted.append((name, look(entry.stat())))
                elif compiled:
                    free.append(name)
            elif (plain := name.endswith(".py") and name[:-3].isidentifier()) or not ignored(name):
                if not entry.is_file():
                    continue
                if not plain and is_no_code(name):
                    free.append(name)
                else:
                    counted.append((name, look(entry.stat())))
                if entry.is_symlink():
                    links.add(name)
                    tree.links.append(Path(entry.path))
    if counted or free:
        tree.files.append(folder(path, here, counted, free, links=frozenset(links), walked=True))
    return inner


def is_sourceless(path: Path) -> bool:
    """Whether this .pyc is a module itself: Python imports one that lies where its source would, if there is none."""
    return path.suffix == ".pyc" and path.parent.name != "__pycache__" and not path.with_suffix(".py").exists()


def _compiled(cache: str, path: str, tree: Tree) -> None:
    """Python writes these under a temporary name first, so a whole name is a whole file; it does without those that
    cannot be read."""
    names = []
    with suppress(PermissionError):
        names = [name for name in os.listdir(cache) if name.endswith(".pyc")]  # noqa: PTH208
    if names:
        tree.files.append(folder(path, cache, [], names, walked=True))
