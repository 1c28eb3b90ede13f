"""Fills the folder of a generation: with links to what the store has, with copies of what it has not."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from trapd.contracts import Cost
from trapd.errors import SnapshotError
from trapd.generations import compiled, table
from trapd.generations.ahead import Ahead
from trapd.generations.copying import CACHE, Rights, copy_file, sync_file_system, write_file
from trapd.generations.linking import link_files
from trapd.generations.order import Tell
from trapd.generations.room import Room
from trapd.generations.store import Store, name_of
from trapd.generations.table import Entry
from trapd.model import TreeFile

_BESIDE = ".another"  # how the name of a link ends that is to take the place of a copy


class Filling:
    """The files of one generation while it is made in ``folder``. Its methods block, and raise OSError."""

    def __init__(self, folder: Path, store: Store, earlier: Sequence[Path], *, group: int, tell: Tell) -> None:
        """``earlier``: folders of other generations, the most alike first. ``group``: the workers'."""
        self.folder = folder
        self.room = Room(folder)
        self._store, self._group, self._tell = store, group, tell
        self._earlier = [path for path in earlier if (path / table.NAME).is_file()]
        self._began = time.monotonic()
        self._entries: dict[str, Entry] = {}
        self._lines: list[bytes] = []  # of the table, of folders that are taken over
        self._size = 0  # bytes of what is in these folders
        self._folders: set[str] = set()
        self._fresh: dict[str, str] = {}  # object -> the first file that has its content

    def add(self, files: Iterable[TreeFile], *, closed: frozenset[str] = frozenset()) -> None:
        """Put these files into the folder. ``closed``: paths of those that hold secrets, whatever their modes.

        Raises SnapshotError if what is installed is no longer what its digest says.
        """
        caches, missing = list[TreeFile](), list[tuple[TreeFile, Rights]]()
        sources = {}
        for file in files:
            if not file.digest and compiled.source_of(file.path):
                caches.append(file)
                continue
            sources[file.path] = file.source
            status = os.stat(file.source)  # noqa: PTH116 - a Path for each of 25,000 files is a sixth of all work
            rights = Rights.of(status, self._group)
            if file.path in closed:
                rights = replace(rights, group=self._group)
            if not (file.digest and self._place(name_of(file.digest, rights), status.st_size, file.path)):
                missing.append((file, rights))
                self.room.add(name_of(file.digest or file.path, rights), status.st_size)
        self._tell(self.room.needed)
        self.room.check(Path(missing[0][0].source) if missing else None)
        for file, rights in missing:
            self._copy(file, rights)
        self._add_compiled({file.path: file.source for file in caches}, sources)

    def take_over(self, generation: Path, folders: Mapping[str, str], linked: Ahead | None = None) -> None:
        """Put in what another generation has in these folders, compiled files included; not what is in their folders.

        ``folders``: place -> where the same files are installed. A file that is missing in the generation, or has
        another size there, is copied from where it is installed; a compiled one is left out. ``linked``: what is in
        ``folder`` already, of the same generation.
        """
        wanted = dict(folders) | {f"{place}/{CACHE}": f"{source}/{CACHE}" for place, source in folders.items()}
        if linked is not None:
            lines, size = linked.keep(wanted)
            self._lines += lines
            self._size += size
            wanted = {place: source for place, source in wanted.items() if place in linked.lacking}
        if not wanted:
            return
        there, lacking = table.Sections(generation), list[TreeFile]()
        for place, source in wanted.items():
            if entries := there.entries(place):
                lacking += self._take_folder(generation, place, source, entries, there.lines(place))
        self.add(lacking)

    def write(self, path: str, content: bytes) -> None:
        """Make a file that is no copy of an installed one; everybody may read it."""
        write_file(self._target(path), content, Rights())
        self._arrived(path, hashlib.sha256(content).hexdigest(), len(content), Rights())

    def entries(self) -> Iterator[Entry]:
        """Every file but those that were taken over, folder by folder."""
        folders: dict[str, list[str]] = {}
        for path in self._entries:
            folders.setdefault(path.rpartition("/")[0], []).append(path)
        return (self._entries[path] for folder in sorted(folders) for path in sorted(folders[folder]))

    def keep(self) -> None:
        """Wait until all is on the disk, let the store have what is new, and write the table."""
        sync_file_system(self.folder)
        added = 0
        for name, path in self._fresh.items():
            added += self._store.take(name, path)
        size = self._size + sum(entry.size for entry in self._entries.values())
        cost = Cost(size, added, round(time.monotonic() - self._began, 3))
        table.write(self.folder, self.entries(), cost, group=self._group, lines=self._lines)

    def _take_folder(
        self, generation: Path, place: str, installed: str, entries: list[Entry], lines: bytes
    ) -> list[TreeFile]:
        """Returns what the generation, whose table has these lines, does not have itself."""
        self._target(f"{place}/")
        lacking = link_files(generation, self.folder, place, entries)
        if not lacking:
            self._lines.append(lines)
            self._size += sum(entry.size for entry in entries)
            return []
        self._entries |= {entry.path: entry for entry in entries}
        for entry in lacking:
            del self._entries[entry.path]
        return [
            TreeFile(entry.path, f"{installed}/{entry.path[len(place) + 1 :]}", entry.digest)
            for entry in lacking
            if not self._place(entry.object, entry.size, entry.path) and not compiled.source_of(entry.path)
        ]

    # --- one file ---

    def _place(self, name: str, size: int, path: str, *, over: bool = False) -> bool:
        """Link what is there already: an object, or a file of this very generation; whether there is one.

        ``over``: in place of a file that is there.
        """
        target = self._target(path)
        place = f"{target}{_BESIDE}" if over else target
        if twin := self._fresh.get(name):
            try:
                os.link(twin, place)
            except OSError:  # no links here, or no more of them
                return False
        elif not self._store.give(name, size, place):
            return False
        if over:
            Path(place).replace(target)
        self._entries[path] = Entry(path, name, size)
        return True

    def _copy(self, file: TreeFile, rights: Rights) -> None:
        name = name_of(file.digest, rights)
        if (twin := self._fresh.get(name)) and self._place(name, Path(twin).stat().st_size, file.path):
            return
        arrived = copy_file(file.source, self._target(file.path), file.digest, rights)
        self._arrived(file.path, arrived.digest, arrived.size, rights)

    def _arrived(self, path: str, digest: str, size: int, rights: Rights) -> None:
        """A new file is in its place; perhaps there was one like it, which its digest tells only now."""
        name = name_of(digest, rights)
        if not self._place(name, size, path, over=True):
            self._fresh.setdefault(name, self._target(path))
            self._entries[path] = Entry(path, name, size)

    def _target(self, path: str) -> str:
        """Where a file goes, its folder made."""
        parent = path.rpartition("/")[0]
        if parent not in self._folders:
            if path.startswith("/") or ".." in path.split("/"):
                raise SnapshotError(f"cannot copy {path}: it would leave the snapshot")
            (self.folder / parent).mkdir(parents=True, exist_ok=True)
            self._folders.add(parent)
        return f"{self.folder}/{path}"

    # --- compiled files ---

    def _add_compiled(self, caches: Mapping[str, str], sources: Mapping[str, str]) -> None:
        """``caches``, ``sources``: path in the generation -> where it is installed."""
        for number, folder in enumerate(self._earlier):
            if not sources or (number and self._entries.keys() >= caches.keys()):
                break
            self._take_over_compiled(folder, sources)
        for path, installed in caches.items():
            module = compiled.source_of(path)
            if path in self._entries or module not in sources:
                continue
            with suppress(FileNotFoundError, PermissionError):  # Python replaces them as it likes, and needs none
                code = compiled.unchecked(sources[module], installed, self._entries[module].digest)
                if code is not None:
                    rights = Rights.of(os.stat(installed), self._group)  # noqa: PTH116
                    write_file(self._target(path), code, rights)
                    self._arrived(path, hashlib.sha256(code).hexdigest(), len(code), rights)

    def _take_over_compiled(self, folder: Path, sources: Iterable[str]) -> None:
        """Those of another generation whose source is the same in this one."""
        places = {path.rpartition("/")[0] for path in sources}
        there = table.Sections(folder)
        for place in places:
            same = {entry.path for entry in there.entries(place) if self._is_as(entry)}
            for entry in there.entries(f"{place}/{CACHE}"):
                if compiled.source_of(entry.path) in same and entry.path not in self._entries:
                    self._place(entry.object, entry.size, entry.path)

    def _is_as(self, entry: Entry) -> bool:
        mine = self._entries.get(entry.path)
        return mine is not None and mine.object == entry.object
