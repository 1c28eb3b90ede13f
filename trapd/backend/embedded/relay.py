"""Copies what workers write into their log files to trapd's own standard output, where that is what a container keeps.

The files stay what workers write to: so no worker ever waits for whoever reads trapd's output, none is hurt by trapd's
death, and a failure has its last words (B6). inotify(7) tells of each write; nothing polls.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger("trapd.backend.embedded")
CHUNK = 1 << 16  # bytes; a line that is longer is cut
LAST_PASS = 2.0  # s that the rest may take when trapd ends
_LIBC = ctypes.CDLL(None, use_errno=True)
_MODIFIED = 0x2  # IN_MODIFY
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(eq=False)
class _Source:
    """One run's log: its name, the file, and the begin of a line that has no end yet."""

    name: str
    file: BinaryIO
    rest: bytes = b""
    ended: bool = False


def to_standard_output(data: bytes) -> None:
    """Blocks for as long as nobody reads."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class Relay:
    """From ``open`` to ``close``, in one loop. ``write`` gets whole lines, off the loop, and may block."""

    def __init__(self, folder: Path, write: Callable[[bytes], None] = to_standard_output) -> None:
        self._folder, self._write = folder, write
        self._sources: list[_Source] = []
        self._lock = threading.Lock()
        self._inotify = -1
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Raises OSError."""
        self._inotify = _LIBC.inotify_init1(_NONBLOCK_CLOEXEC)
        if self._inotify < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self._folder))
        asyncio.get_running_loop().add_reader(self._inotify, self._changed)
        self._task = asyncio.create_task(self._keep(), name="workers' output")

    async def close(self) -> None:
        """With what is still to be copied, unless nobody reads it."""
        if self._task is None:
            return
        asyncio.get_running_loop().remove_reader(self._inotify)
        os.close(self._inotify)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(self._copy, last=True))], timeout=LAST_PASS)

    def follow(self, name: str, path: Path) -> None:
        """From its beginning. May be called from any thread. Raises OSError."""
        source = _Source(name, path.open("rb", buffering=0))
        # the file, not its folder, which somebody may remove; the kernel forgets it with the file
        if _LIBC.inotify_add_watch(self._inotify, os.fsencode(path), _MODIFIED) < 0:
            source.file.close()
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
        self._sources.append(source)

    def end(self, name: str) -> None:
        """Nothing more comes of what ran under this name until now."""
        for source in list(self._sources):
            source.ended |= source.name == name
        self._news.set()

    def _changed(self) -> None:
        os.read(self._inotify, CHUNK)  # which file it was is not worth to be known: a look at each costs 2 us
        self._news.set()

    async def _keep(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await asyncio.to_thread(self._copy)
            except OSError as error:
                log.error("cannot copy the workers' output: %s; it is in %s", error.strerror, self._folder)
                return

    def _copy(self, last: bool = False) -> None:
        with self._lock:
            for source in list(self._sources):
                self._copy_one(source, source.ended or last)

    def _copy_one(self, source: _Source, ended: bool) -> None:
        if os.fstat(source.file.fileno()).st_size < source.file.tell():
            source.file.seek(0)  # it was emptied (Records.trim_log)
        while data := source.file.read(CHUNK):
            *lines, source.rest = (source.rest + data).split(b"\n")
            if len(source.rest) >= CHUNK:
                lines, source.rest = [*lines, source.rest], b""
            self._emit(source, lines)
        if ended:
            self._emit(source, [source.rest] if source.rest else [])
            source.file.close()
            self._sources.remove(source)

    def _emit(self, source: _Source, lines: list[bytes]) -> None:
        if lines:
            self._write(b"".join(b"%s | %s\n" % (source.name.encode(), line) for line in lines))
