"""What workers write down for those that come after them, in a folder that outlives them, a crash and a reboot.

Each run has a file of its own, so nobody ever waits for anybody: one JSON document a line, whose ``kind`` says what it
tells. The first is ``run`` (who writes); the others belong to the modules that keep something: ``revoked`` and
``stamps`` to revokes.py. A reader passes over kinds that it does not know, and a new kind needs no new file.

A run holds a lock on its file (flock) for as long as it lives. The file of one that is dead is removed by the first
who has taken over what it says. There is no file where there is nothing to say.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trapd.atomic import write_all

Entry = Mapping[str, Any]
FOLDER, SUFFIX = ".accounts", ".jsonl"  # no pool has such a name; theirs lie beside it
RUN = "run"
SCHEMA = 1


class Account:
    """One run's own file, and the view of the others'. For one thread. Every method raises OSError."""

    def __init__(self, workers: Path, instance: str) -> None:
        """``workers``: the folder that all workers of this application share. Nothing is touched yet."""
        self._folder, self._instance = workers / FOLDER, instance
        self._file: int | None = None
        self._path: Path | None = None
        self._torn = False  # the last write ended in the middle of a line
        self._read: dict[Path, int] = {}  # others' files -> bytes read so far

    def news(self) -> Iterator[Entry]:
        """What other runs, alive or dead, have written since the last call; the oldest file first."""
        for path in self._others():
            with suppress(FileNotFoundError), path.open("rb") as file:  # another worker tidies as well
                file.seek(self._read.get(path, 0))
                whole = file.read().rpartition(b"\n")[0]  # of a line that is being written, nothing yet
                self._read[path] = self._read.get(path, 0) + (len(whole) + 1 if whole else 0)
                yield from _entries(whole)

    def begin(self, entries: Iterable[Entry]) -> None:
        """From now on this is all that the run has to say: a new file, whole from the moment it is there."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = time.time()
        path = self._folder / f"{self._instance}.{time.time_ns()}{SUFFIX}"
        coming = path.with_name(f".{path.name}.coming")
        file = os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            run = {"kind": RUN, "schema": SCHEMA, "instance": self._instance, "pid": os.getpid(), "wall": now}
            _write(file, [run, *entries])
            coming.rename(path)
        except OSError:
            os.close(file)
            coming.unlink(missing_ok=True)
            raise
        self._leave()
        self._file, self._path, self._torn = file, path, False

    def add(self, entry: Entry) -> None:
        """One more line. In the kernel's hands when this returns: SIGKILL does not lose it, a power cut may."""
        if self._file is None:
            self.begin([entry])
            return
        try:
            _write(self._file, [entry], b"\n" if self._torn else b"")
            self._torn = False
        except OSError:
            self._torn = True
            raise

    def tidy(self, known: Collection[str]) -> None:
        """Remove the files of dead runs. To be called when all that ``news`` gave was taken over by ``begin``.

        A file that holds other kinds than the ``known`` ones stays: it is for others to take over.
        """
        for path in self._others():
            with suppress(FileNotFoundError):
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    whole = path.read_bytes().rpartition(b"\n")[0]
                    taken_over = len(whole) < self._read.get(path, 0)  # the last line's end was read as well
                    if taken_over and all(entry["kind"] in known for entry in _entries(whole)):
                        path.unlink()
                        del self._read[path]
                except BlockingIOError:  # it lives
                    pass
                finally:
                    os.close(file)

    def _leave(self) -> None:
        if self._file is not None and self._path is not None:
            os.close(self._file)
            self._path.unlink(missing_ok=True)
            self._file = self._path = None

    def _others(self) -> list[Path]:
        """In the order in which they began."""
        try:
            found = [path for path in self._folder.iterdir() if path.suffix == SUFFIX and path.name[0] != "."]
        except FileNotFoundError:
            return []
        return sorted((path for path in found if path != self._path), key=lambda path: path.stem.rpartition(".")[2])


def _entries(lines: bytes) -> Iterator[Entry]:
    """What is no entry (a line torn by a full disk) is passed over."""
    for line in lines.splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("kind"), str):
                yield entry


def _write(file: int, entries: Iterable[Entry], before: bytes = b"") -> None:
    write_all(file, before + b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
