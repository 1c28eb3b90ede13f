"""One folder of installed packages, listed for a copy: its files, links and path files, and what of it is as it was."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from trapd.content import Environment
from trapd.generations.copying import CACHE
from trapd.generations.moves import ENV, Moves
from trapd.generations.stamps import Digests, Memory, Stamp, settled, stamp
from trapd.model import TreeFile

LARGEST = 64 << 20  # bytes behind a link out of the environment; what is larger holds data, and stays where it is
STASH = "~"  # what pip moves aside begins so, and cannot be imported
_CODE_LINE = ("import ", "import\t")
_LOOK = struct.Struct("=IQqqQ")  # mode, bytes, times of writing and of change in ns, inode


@dataclass(slots=True)
class Contents:
    """Everything that ``env`` consists of. Places are relative to the snapshot."""

    files: list[TreeFile] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)  # place -> what the link says
    texts: dict[str, bytes] = field(default_factory=dict)  # place -> content of a file that is not a mere copy
    closed: list[str] = field(default_factory=list)  # what cannot be read, and is left out: nothing that is counted
    stamps: dict[str, Stamp] = field(default_factory=dict)  # of all that is installed, folders too, when it was listed
    same: list[Same] = field(default_factory=list)  # folders of which nothing else here tells
    marks: dict[str, str] = field(default_factory=dict)  # of the other folders that can be taken over the next time
    began: int = field(default_factory=time.time_ns)


@dataclass(frozen=True, slots=True)
class Same:
    """A folder that is as it was when it was last copied, without what is in its folders."""

    place: str
    source: str
    mark: str
    site: Site

    def is_still(self) -> bool:
        """Whether it has not changed since. Raises OSError if it is gone."""
        return self.site.mark(self.source, self.place, _listed(self.source))[0] == self.mark


def _compiled_names(cache: str) -> list[str]:
    with suppress(PermissionError):
        return sorted(name for name in os.listdir(cache) if name.endswith(".pyc"))  # noqa: PTH208  half as slow
    return []


def _is_there(path: Path, found: Contents) -> bool:
    """Whether a link has an end. One whose end is not for us to see has none."""
    try:
        return path.exists()
    except PermissionError:
        found.closed.append(str(path))
        return False


def relative(place: str, folder: str) -> str:
    """How a path file, or a link, in ``folder`` names ``place``; both are relative to the snapshot."""
    return os.path.relpath(f"/{place}", f"/{folder}")


def _listed(folder: str) -> list[tuple[str, os.stat_result]]:
    """Everything in a folder, by name."""
    with os.scandir(folder) as entries:
        return sorted([(entry.name, entry.stat(follow_symlinks=False)) for entry in entries], key=itemgetter(0))


class Site:
    """One folder of installed packages."""

    def __init__(self, environment: Environment, moves: Moves, memory: Memory, source: str, place: str) -> None:
        self._hooks, self._moves, self._memory = environment.hooks, moves, memory
        self._source, self._place = source, place
        self._within = Path(source)  # of which there are copies
        self._named = Path(environment.prefix, place.removeprefix(f"{ENV}/"))  # as Python has it
        self._known: tuple[str, Mapping[str, str], Digests] = "", {}, {}  # of one folder: what is known of its files

    def walk(self, found: Contents) -> None:
        self._folder(self._source, self._place, frozenset(), found)

    def mark(self, source: str, place: str, listed: list[tuple[str, os.stat_result]]) -> tuple[str, int]:
        """Of all that a copy of this folder, without its folders, depends on, and when the youngest file changed.

        The mark is empty where it depends on more: of links and path files.
        """
        told = self._moves.told(source)
        if told is None or source == self._source:
            return "", 0
        names, looks, youngest = [], [], 0
        for name, status in listed:
            if name.startswith(STASH):
                continue
            if stat.S_ISREG(status.st_mode):
                names.append(name)
                changed = status.st_ctime_ns
                youngest = max(youngest, changed)
                looks.append(_LOOK.pack(status.st_mode, status.st_size, status.st_mtime_ns, changed, status.st_ino))
            elif not stat.S_ISDIR(status.st_mode):
                return "", 0
            else:
                names.append(f"{name}/")
                if name == CACHE:
                    names += _compiled_names(f"{source}/{name}")
        text = "\0".join([place, *names]).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(b"\0\0".join([text, *looks, told]), digest_size=16).hexdigest(), youngest

    def _folder(self, source: str, place: str, above: frozenset[Path], found: Contents) -> None:
        """``above``: the real folders that this one is in, as far as links have led out; none is entered again."""
        try:
            listed = _listed(source)
        except PermissionError:
            found.closed.append(source)
            return
        mark, youngest = ("", 0) if above else self.mark(source, place, listed)
        if self._memory.is_same(source, mark):
            found.same.append(Same(place, source, mark, self))
            for name, status in listed:
                if stat.S_ISDIR(status.st_mode) and name != CACHE and not name.startswith(STASH):
                    self._folder(f"{source}/{name}", f"{place}/{name}", above, found)
            return
        found.stamps[source] = stamp(os.lstat(source))
        closed = len(found.closed)
        for name, status in listed:
            inner, path = f"{place}/{name}", f"{source}/{name}"
            if name == CACHE and not stat.S_ISLNK(status.st_mode):
                self._compiled(path, inner, found)
            elif not name.startswith(STASH):
                self._entry(path, inner, status, above, found)
        if mark and settled(youngest, found.began) and len(found.closed) == closed:
            found.marks[source] = mark

    def take(self, name: str, found: Contents) -> None:
        """One package, module or metadata alone."""
        path = Path(self._source, name)
        self._within, self._named = path, Path(self._source)
        self._entry(str(path), f"{self._place}/{name}", path.lstat(), frozenset(), found)

    def _entry(self, path: str, place: str, status: os.stat_result, above: frozenset[Path], found: Contents) -> None:
        found.stamps[path] = stamp(status)
        if path in self._hooks:
            return
        if stat.S_ISLNK(status.st_mode):
            self._link(path, place, above, found)
        elif stat.S_ISDIR(status.st_mode):
            self._folder(path, place, above, found)
        elif path.endswith(".pth") and path.rpartition("/")[0] == self._source:
            self._path_file(path, place, found)
        else:
            self._file(path, place, status, found)

    def _compiled(self, source: str, place: str, found: Contents) -> None:
        """Python replaces these as it likes, and does without those that cannot be read."""
        found.files += [TreeFile(f"{place}/{name}", f"{source}/{name}", "") for name in _compiled_names(source)]

    def _file(self, source: str, place: str, status: os.stat_result, found: Contents) -> None:
        """A file that nobody counts, and that we may not read, is left out."""
        if not stat.S_ISREG(status.st_mode):
            return
        folder, _, name = source.rpartition("/")
        if self._known[0] != folder:
            self._known = folder, self._moves.digests(folder), self._memory.digests(folder)
        _, told, before = self._known
        digest = told.get(name)
        if digest is None and not os.access(source, os.R_OK, effective_ids=True):
            found.closed.append(source)
            return
        if not digest and name in before and before[name][0] == stamp(status):
            digest = before[name][1]
        found.files.append(TreeFile(place, source, digest or ""))

    def _link(self, source: str, place: str, above: frozenset[Path], found: Contents) -> None:
        real, said = Path(os.path.realpath(source)), Path(source).readlink()
        if copy := self._moves.of_project(str(real)):
            found.links[place] = relative(copy, place.rpartition("/")[0])
        elif (
            not _is_there(real, found) or real in above or Path(self._source).is_relative_to(real)
        ):  # a link up has no end
            return
        elif not said.is_absolute() and real.is_relative_to(self._within):
            found.links[place] = str(said)
        elif real.is_dir():
            behind = Contents()
            self._folder(source, place, above | {real}, behind)
            if sum(Path(file.source).stat().st_size for file in behind.files) > LARGEST:
                found.links[place] = str(real)
                return
            found.files += behind.files
            found.closed += behind.closed
            found.links |= behind.links
            found.stamps |= behind.stamps
        else:
            status = real.stat()
            found.stamps[str(real)] = stamp(status)
            self._file(source, place, status, found)

    def _path_file(self, source: str, place: str, found: Contents) -> None:
        if not os.access(source, os.R_OK, effective_ids=True):
            found.closed.append(source)
            return
        old = Path(source).read_bytes()
        new = b"".join(map(self._line, old.splitlines(keepends=True)))
        if new == old:
            self._file(source, place, Path(source).stat(), found)
        else:
            found.texts[place] = new

    def _line(self, line: bytes) -> bytes:
        text = os.fsdecode(line).rstrip()
        if not text or text.startswith(("#", *_CODE_LINE)) or "\0" in text:
            return line
        named = os.path.normpath(self._named / text)
        copy = self._moves.of(named) or self._moves.of(os.path.realpath(named))
        if copy:
            return os.fsencode(f"./{relative(copy, self._place)}\n")
        return line if text.startswith("/") else os.fsencode(f"{named}\n")
