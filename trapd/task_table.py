"""The task table of a worker: the tasks that it runs, in a small file that is mapped into its memory.

The kernel keeps the file whatever ends the worker, so SIGKILL loses nothing; a write into mapped memory is no system
call. The file lies in the worker's runtime folder, which a reboot empties (docs/adr/0030-a-workers-own-account.md).

Standard library only: this file travels with each generation, because workers write the tables that trapd reads.

    header, 64 bytes    magic, layout's version, size of a row, number of rows, process id of the worker
    each row, 512 bytes 1 if a task runs, else 0; since when (wall clock); length of id and of name; id; name
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

MAGIC, VERSION = b"TRAPDTSK", 1
HEADER, ROW = 64, 512  # bytes
_HEADER = struct.Struct("<8sHHII")  # magic, version, size of a row, rows, pid
_ID, _NAME = 240, 252  # bytes; a longer id or name is cut
_BODY = struct.Struct(f"<dHH{_ID}s{_NAME}s")
_AT = 8  # of the body in its row, behind the mark
MOST = 1 << 24  # bytes that are read of a table


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that runs, or that ran when its worker was killed. ``since``: seconds since the epoch."""

    id: str
    name: str
    since: float


class TaskTable:
    """The worker's end. Not for two threads at a time."""

    def __init__(self, path: Path, rows: int) -> None:
        """Make the file anew. Raises OSError.

        Each byte is written at once: memory that is mapped, and that a full file system cannot provide later, would
        end the worker (SIGBUS).
        """
        self._path = path
        path.unlink(missing_ok=True)  # of an earlier run
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            size = HEADER + rows * ROW
            header = _HEADER.pack(MAGIC, VERSION, ROW, rows, os.getpid()).ljust(size, b"\0")
            if os.write(file, header) < size:
                raise OSError("no room for the whole file")
            self._memory = mmap.mmap(file, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        self._free = list(range(HEADER + (rows - 1) * ROW, 0, -ROW))

    def put(self, id: str, name: str, since: float) -> int:
        """A task runs. Return the place of its row, 0 if every row is taken."""
        if not self._free:
            return 0
        place = self._free.pop()
        raw_id, raw_name = id.encode()[:_ID], name.encode()[:_NAME]
        _BODY.pack_into(self._memory, place + _AT, since, len(raw_id), len(raw_name), raw_id, raw_name)
        self._memory[place] = 1  # last: a kill in between leaves a row that counts for nothing
        return place

    def clear(self, place: int) -> None:
        """The task of this row runs no more."""
        if place:
            self._memory[place] = 0
            self._free.append(place)

    def remove(self) -> None:
        """Remove the file: the worker exits in order, and runs nothing."""
        self._path.unlink(missing_ok=True)


def parse(content: bytes) -> tuple[int, list[RunningTask]]:
    """Read a table: the worker's process id, and the tasks that it ran. Raises ValueError: this is no such table."""
    if len(content) < HEADER:
        raise ValueError("a task table is longer")
    magic, version, size, rows, pid = _HEADER.unpack_from(content)
    if magic != MAGIC or version != VERSION or size != ROW:
        raise ValueError(f"no task table of version {VERSION}")
    tasks = []
    for place in range(HEADER, min(HEADER + rows * ROW, len(content) - ROW + 1), ROW):
        if content[place] == 1:
            since, id, name, raw_id, raw_name = _BODY.unpack_from(content, place + _AT)
            tasks.append(RunningTask(_text(raw_id[:id]), _text(raw_name[:name]), since))
    return pid, tasks


def _text(raw: bytes) -> str:
    """A character that was cut in the middle is left out."""
    return raw.decode("utf-8", "ignore")
