"""What is installed, folder by folder, as it was when it was last copied: what looks the same need not be read again.

The next generation shares with the last one all but what changed. A folder of which nothing changed is taken over from
that generation as it is there; in one of which something did, the digests of the other files are known. So neither
Trap's 960 MB are read again, nor does an upgrade of one file make work for each of 100,000. Nothing is lost with this
file but time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from trapd import atomic
from trapd.file_stamp import RACY
from trapd.generations.manifest import NAME as MANIFEST

Stamp = tuple[int, int, int, int]  # bytes, times of writing and of change in ns, inode
Digests = Mapping[str, tuple[Stamp, str]]  # name -> stamp and sha256 in hex, of the files of one folder
_SCHEMA = 2


def stamp(status: os.stat_result) -> Stamp:
    """What changes with a file's content."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def settled(changed: int, began: int) -> bool:
    """Whether another change would show in a file that changed then; both in ns since the epoch. ``began``: when it was
    looked at."""
    return changed < began - RACY


@dataclass(frozen=True, slots=True)
class Seen:
    """An installed folder when it was copied."""

    mark: str  # of all that its copy depends on; empty where it cannot be taken over
    files: str  # digests of its files as a JSON text, which is read only if it is needed

    @classmethod
    def of(cls, mark: str, digests: Digests) -> Seen:
        return cls(mark, json.dumps({name: [*mark, digest] for name, (mark, digest) in digests.items()}))

    def digests(self) -> Digests:
        """Raises ValueError if it is no such text."""
        return {name: ((a, b, c, d), digest) for name, (a, b, c, d, digest) in json.loads(self.files).items()}


@dataclass(frozen=True, slots=True)
class Memory:
    """What was installed when ``generation`` was made."""

    generation: Path | None = None  # None: it is not there any more, or another one by now
    folders: Mapping[str, Seen] = field(default_factory=dict)  # by path

    def is_same(self, folder: str, mark: str) -> bool:
        """Whether a folder can be taken over from the generation."""
        seen = self.folders.get(folder)
        return bool(mark) and self.generation is not None and seen is not None and seen.mark == mark

    def digests(self, folder: str) -> Digests:
        """Of a folder's files when they were copied; nothing if that is not known."""
        seen = self.folders.get(folder)
        with suppress(ValueError, TypeError, AttributeError):
            return seen.digests() if seen else {}
        return {}


NOTHING = Memory()


def generation(file: Path, directory: Path, *, group: int) -> Path | None:
    """The generation of which something was kept; None: it is not there any more, or another one by now."""
    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError), file.open(encoding="ascii") as lines:
        return _told(lines.readline(), directory, group)
    return None


def read(file: Path, directory: Path, *, group: int) -> Memory:
    """What was kept; nothing if it cannot be read. ``directory``: of the generations. ``group``: the workers'."""
    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError), file.open(encoding="ascii") as lines:
        folder = _told(lines.readline(), directory, group)
        folders = {}
        for line in lines:
            path, mark, files = line.split("\t")
            folders[json.loads(path)] = Seen(mark, files.rstrip("\n"))
        return Memory(folder, folders)
    return NOTHING


def keep(file: Path, generation: Path, folders: Iterable[tuple[str, Seen]], *, group: int) -> None:
    """Keep what was installed when ``generation`` was made. Nothing is kept where the disk is full."""
    with suppress(OSError):
        head = json.dumps(_head(generation, group)).encode()
        lines = (f"{json.dumps(path)}\t{seen.mark}\t{seen.files}\n".encode() for path, seen in folders)
        atomic.write(file, chain([head, b"\n"], lines), mode=0o600, lasting=False)


def forget(file: Path) -> None:
    """No generation is taken over as it is any more: of one there is a damaged file, which others may have too."""
    with suppress(OSError):
        file.unlink(missing_ok=True)


def _told(line: str, directory: Path, group: int) -> Path | None:
    """The generation that the first line names, if it is still that one."""
    head = json.loads(line)
    folder = directory / str(int(head["generation"]))
    return folder if head == _head(folder, group) else None


def _head(generation: Path, group: int) -> dict[str, object]:
    """What the copies depend on beside the folders. Numbers are given again where a history was lost, so a generation
    is told by its manifest. Raises OSError if it has none."""
    status = (generation / MANIFEST).stat()
    return {
        "schema": _SCHEMA,
        "generation": int(generation.name),
        "manifest": [status.st_ino, status.st_mtime_ns],
        "group": group,
        "user": os.geteuid(),
    }
