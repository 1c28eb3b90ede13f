"""Links made ahead: a folder with all that the last generation's environment has, made while nothing happens.

The next generation begins with this folder, so that an upgrade of one file does not link 100,000 others between the end
of the installer and the first new worker. The folder is no generation. A text in it, which is written last, says that
its links are all there, and of which table; whoever takes the folder removes that text first. So a folder that somebody
began, or took, and left behind is never used, and a later turn removes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trapd import atomic
from trapd.generations import table
from trapd.generations.copying import discard
from trapd.generations.linking import link_files
from trapd.generations.manifest import NAME as MANIFEST
from trapd.generations.moves import ENV
from trapd.generations.order import AHEAD
from trapd.generations.table import Span

NAME = "ahead.json"


@dataclass(frozen=True, slots=True)
class Ahead:
    """What was linked ahead, once it is taken."""

    folder: Path
    folders: Mapping[str, tuple[list[Span], int]]  # place -> its lines in the table, and the bytes of its files
    lacking: Collection[str]  # folders that could not be linked
    _table: bytes

    def keep(self, places: Collection[str]) -> tuple[list[bytes], int]:
        """Have only what is in these folders; returns their lines of the table, and how many bytes are in them."""
        for place in self.folders.keys() - set(places):
            _clear(self.folder, place)
        kept = [self.folders[place] for place in self.folders if place in places]
        lines = [self._table[start:end] for spans, _ in kept for start, end in spans]
        return lines, sum(size for _, size in kept)


def link(directory: Path, generation: Path) -> bool:
    """Link ahead what ``generation`` has, unless that is there; returns whether anything was done. Raises OSError, and
    ValueError if its table cannot be read."""
    folder, mark = directory / f"{AHEAD}{generation.name}", _mark(generation)
    with suppress(OSError, ValueError, LookupError):
        if json.loads((folder / NAME).read_bytes())["mark"] == mark:
            return False
    forget(directory)
    folder.mkdir(0o755)
    folders, lacking = dict[str, tuple[list[Span], int]](), set[str]()
    data = (generation / table.NAME).read_bytes()
    for place, span in table.spans(data):
        if not place.startswith(f"{ENV}/"):
            continue
        entries = table.parsed(data[slice(*span)])
        (folder / place).mkdir(parents=True, exist_ok=True)
        if link_files(generation, folder, place, entries):
            lacking.add(place)
        spans, size = folders.get(place, ([], 0))
        folders[place] = [*spans, span], size + sum(entry.size for entry in entries)
    for place in lacking:
        _clear(folder, place)
        del folders[place]
    text = json.dumps({"mark": mark, "folders": folders, "lacking": sorted(lacking)})
    atomic.write(folder / NAME, text, mode=0o600, lasting=False)
    return True


def take(directory: Path, generation: Path, target: Path) -> Ahead | None:
    """Move what was linked ahead of this generation into ``target``; None: there is nothing, or its table is another
    one by now. Raises OSError."""
    folder = directory / f"{AHEAD}{generation.name}"
    try:
        found = json.loads((folder / NAME).read_bytes())
        data = (generation / table.NAME).read_bytes()
        if found["mark"] != _mark(generation):  # after it was read: compiling replaces the whole file
            return None
        folders = {place: (spans, size) for place, (spans, size) in found["folders"].items()}
        lacking = frozenset(found["lacking"])
    except (OSError, ValueError, LookupError):
        return None
    (folder / NAME).unlink()
    (folder / ENV).rename(target / ENV)
    folder.rmdir()
    return Ahead(target, folders, lacking, data)


def invalidate(directory: Path) -> None:
    """Have nothing taken of what an earlier trapd linked: after a power cut it may not be what the text says."""
    for text in directory.glob(f"{AHEAD}*/{NAME}"):
        text.unlink(missing_ok=True)


def forget(directory: Path) -> None:
    """Remove whatever was linked ahead. Raises OSError."""
    for folder in directory.glob(f"{AHEAD}*"):
        with suppress(FileNotFoundError):
            (folder / NAME).unlink()
        discard(folder)


def _mark(generation: Path) -> list[int]:
    """What tells the generation, and its table, from all others. Raises OSError."""
    found = [(generation / name).stat() for name in (MANIFEST, table.NAME)]
    return [number for status in found for number in (status.st_ino, status.st_mtime_ns, status.st_size)]


def _clear(top: Path, place: str) -> None:
    """Remove the files of a folder, and the folders that are empty then: one without a file would be a namespace."""
    with os.scandir(top / place) as entries:
        for entry in list(entries):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)  # noqa: PTH108
    for folder in (place, *map(str, PurePosixPath(place).parents)):
        try:
            (top / folder).rmdir()
        except OSError:  # it is not empty
            return
