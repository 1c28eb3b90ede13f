"""RECORD, the list of a distribution's files that installers write.

Large ones have 100,000 lines: they are read line by line, and what a look needs of one that is as it was is remembered.
"""

from __future__ import annotations

import csv
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from trapd.file_stamp import RACY, identity
from trapd.watch.projects import is_namespace

_MOST_DIGITS = 18  # of a size
_ODD = re.compile(r"//|/\./|^\./|/\.?$").search  # what PurePosixPath would spell otherwise


class Recorded(NamedTuple):
    """A line of RECORD: ``digest`` as written there ("sha256=..."), empty where there is none."""

    path: str
    digest: str
    size: int | None


def is_below(path: str) -> bool:
    """Whether it names something below the import root."""
    if path[:1] in ("/", "") or path == ".":
        return False
    return not (".." in path and ".." in path.split("/")) and "\0" not in path


def read_record(info: Path) -> Iterator[Recorded]:
    """The lines of RECORD about files below the import root: scripts and man pages are nothing that is imported.

    None more from where it is no table; none at all if it cannot be read.
    """
    try:
        with (info / "RECORD").open(encoding="utf-8", errors="replace", newline="") as file:
            yield from _read(csv.reader(file))
    except (OSError, csv.Error):
        return


def _read(rows: Iterable[list[str]]) -> Iterator[Recorded]:
    for row in rows:
        if row and is_below(row[0]):
            path, digest, size = [*row, "", ""][:3]
            known = size.isascii() and size.isdigit() and len(size) <= _MOST_DIGITS
            yield Recorded(_plain(path), digest, int(size) if known else None)


def sections(info: Path) -> Iterator[tuple[str, bytes]] | None:
    """Folder -> lines of RECORD about files directly in it, as often as it comes; None where it has to be read line by
    line: it cannot be read, or has quotes."""
    try:
        with (info / "RECORD").open("rb") as file:
            if any(map(_is_odd, file)):
                return None
    except OSError:
        return None
    return _sections(info)


def _sections(info: Path) -> Iterator[tuple[str, bytes]]:
    with (info / "RECORD").open("rb") as file:
        for folder, lines in groupby(file, _folder_of):
            yield folder.decode("utf-8", "replace"), b"".join(lines)


def _is_odd(line: bytes) -> bool:
    return b'"' in line or b"\0" in line or b"\r" in line[:-2]


def _is_regular(folder: str, lines: bytes) -> bool:
    """Whether all of these lines are about files below the import root, in a folder of just this name."""
    odd = _ODD(f"{folder}/x") or ".." in folder or folder.startswith("/")
    return bool(folder) and not odd and b"/." not in lines and b"/," not in lines


def read_section(lines: bytes) -> Iterator[Recorded]:
    """As ``read_record``, of one section."""
    with suppress(csv.Error):
        yield from _read(csv.reader(lines.decode("utf-8", "replace").split("\n")))


def _folder_of(line: bytes) -> bytes:
    return line[: max(0, line.rfind(b"/", 0, line.find(b",")))]


def _plain(path: str) -> str:
    return str(PurePosixPath(path)) if _ODD(path) else path


@dataclass(slots=True)
class Layout:
    """Which folders and files a RECORD names, in the metadata folder ``info``."""

    info: Path
    recorded: bool = False  # whether it has lines
    packages: tuple[str, ...] = ()  # folders with an __init__, sorted
    folders: frozenset[str] = frozenset()  # all that it has files in
    _own: frozenset[str] = frozenset()
    _outside: tuple[str, ...] | None = None  # files of the last answer

    def tops(self, site: Path) -> frozenset[str]:
        """Of the packages those in no other one. A namespace, which others may have a part of, is none."""
        own: set[str] = set()
        for folder in self.packages:
            if not _is_in(folder, own) and not is_namespace(site / folder):
                own.add(folder)
        return frozenset(own)

    def outside(self, own: frozenset[str]) -> tuple[str, ...]:
        """Recorded files that are in none of these folders, and no metadata."""
        if self._outside is None or own != self._own:
            elsewhere = {folder for folder in self.folders if folder.partition("/")[0] != self.info.name}
            elsewhere = {folder for folder in elsewhere if not _is_in(f"{folder}/", own)}
            paths = (line.path for line in read_record(self.info)) if elsewhere else ()
            self._own = own
            self._outside = tuple(
                path for path in paths if path.partition("/")[0] != self.info.name and not _is_in(path, own)
            )
        return self._outside


def _folders(info: Path) -> tuple[set[str], set[str]]:
    """The folders that RECORD names, and those of them with an ``__init__``."""
    folders, packages = set[str](), set[str]()
    for folder, lines in sections(info) or [("/", b"")]:
        if lines and _is_regular(folder, lines):
            folders.add(folder)
            if b"/__init__." in lines:
                packages.add(folder)
            continue
        for line in read_section(lines) if lines else read_record(info):
            inner, _, name = line.path.rpartition("/")
            folders.add(inner)
            if name.startswith("__init__."):
                packages.add(inner)
    return folders, packages


def _is_in(path: str, folders: set[str] | frozenset[str]) -> bool:
    while path:
        path = path.rpartition("/")[0]
        if path in folders:
            return True
    return False


@dataclass(slots=True)
class Layouts:
    """Remembers layouts for as long as the RECORD looks the same."""

    _known: dict[str, tuple[object, Layout]] = field(default_factory=dict)

    def keep(self, described: Collection[Path]) -> None:
        """Forget what is not among this metadata: of a version that is gone nobody asks again."""
        self._known = {info: known for info, known in self._known.items() if Path(info) in described}

    def of(self, info: Path) -> Layout:
        """Empty where there is no RECORD."""
        key = str(info)
        try:
            status = os.stat(f"{key}/RECORD")  # noqa: PTH116
        except OSError:
            self._known.pop(key, None)
            return Layout(info)
        seen = identity(status)
        known = self._known.get(key)
        if known is not None and known[0] == seen:
            return known[1]
        folders, packages = _folders(info)
        packages.discard("")  # one that lies among all packages makes no package of them
        layout = Layout(info, bool(folders), tuple(sorted(packages)), frozenset(folders))
        racy = time.time_ns() - status.st_ctime_ns < RACY
        self._known[key] = (None if racy else seen), layout
        return layout
