"""Copy lines from the workers' log files to trapd's own standard output, which a container keeps.

Workers go on writing into the files: so no worker ever waits for the reader of trapd's output, no worker suffers if
trapd is killed, and a failure has the end of the log (B6). inotify(7) reports each write; nothing polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trapd.atomic import write_all

log = logging.getLogger("trapd.backend.embedded")
CHUNK = 1 << 16  # bytes; a line that is longer is cut
STANDARD_OUTPUT = 1
LAST_PASS = 2.0  # s that the last lines may take when trapd ends
_LIBC = ctypes.CDLL(None, use_errno=True)
_MODIFIED = 0x2  # IN_MODIFY
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(eq=False)
class _Source:
    """One run's log: its name, the file, and the beginning of a line that is not complete yet."""

    name: str
    file: BinaryIO
    rest: bytes = b""
    ended: bool = False


def to_standard_output(data: bytes) -> None:
    """Write, and block for as long as no process reads. This does not use sys.stdout: a blocked thread would hold its
    lock when Python ends."""
    write_all(STANDARD_OUTPUT, data)


class Relay:
    """Copies from ``open`` to ``close``, in one loop. ``write`` gets whole lines, off the loop, and may block.

    A worker whose output cannot be copied runs all the same: the output is in the file, and trapd logs that.

    The thread is a daemon thread, because Python waits at its end for the threads of the loop's pool: a reader that has
    stopped reading must not keep trapd from ending.
    """

    def __init__(self, folder: Path, write: Callable[[bytes], None] = to_standard_output) -> None:
        self._folder, self._write = folder, write
        self._sources: list[_Source] = []
        self._lock = threading.Lock()  # of the list; never held while something is written
        self._broken = self._closing = False
        self._inotify = -1
        self._news = threading.Event()
        self._ended = asyncio.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        self._inotify = _LIBC.inotify_init1(_NONBLOCK_CLOEXEC)
        if self._inotify < 0:
            self._broken = True
            return self._complain("workers", _refusal("max_user_instances"), self._folder)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._inotify, self._changed)
        self._thread = threading.Thread(target=self._keep, args=(loop,), name="workers' output", daemon=True)
        self._thread.start()
        return None

    async def close(self) -> None:
        """Copy the rest, for at most LAST_PASS, and stop."""
        if self._thread is None:
            return
        asyncio.get_running_loop().remove_reader(self._inotify)
        os.close(self._inotify)
        self._closing = True
        self._news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_PASS):
                await self._ended.wait()

    def follow(self, name: str, path: Path) -> None:
        """Copy this file from its beginning. May be called from any thread."""
        if self._broken:
            return None
        try:
            source = _Source(name, path.open("rb", buffering=0))
        except OSError as error:
            return self._complain(name, str(error.strerror), path)
        with self._lock:
            # watch the file, not its folder, which may be removed; the kernel drops the watch together with the file
            watched = not self._broken and _LIBC.inotify_add_watch(self._inotify, os.fsencode(path), _MODIFIED) >= 0
            if watched:
                return self._sources.append(source)
        source.file.close()
        return None if self._broken else self._complain(name, _refusal("max_user_watches"), path)

    def _complain(self, whose: str, why: str, path: Path) -> None:
        log.error("cannot copy the output of %s: %s; it is in %s", whose, why.lower(), path)

    def end(self, name: str) -> None:
        """Copy the rest of the run of this name, and stop: the run has ended."""
        for source in list(self._sources):
            source.ended |= source.name == name
        self._news.set()

    def _changed(self) -> None:
        os.read(self._inotify, CHUNK)  # the event's file is not read: a look at each file costs 2 us
        self._news.set()

    def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            last = False
            while not last:
                self._news.wait()
                self._news.clear()
                last = self._closing
                self._copy(last)
        except OSError as error:
            self._complain("workers", str(error.strerror), self._folder)
            self._give_up()
        with contextlib.suppress(RuntimeError):  # the loop has ended before this thread
            loop.call_soon_threadsafe(self._ended.set)

    def _give_up(self) -> None:
        """Close all files, and follow no more: no thread would close the files of new workers."""
        with self._lock:
            self._broken, sources, self._sources = True, self._sources, []
        for source in sources:
            source.file.close()

    def _copy(self, last: bool) -> None:
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


def _refusal(limit: str) -> str:
    """Return why the kernel has just refused a call of inotify in this thread."""
    code = ctypes.get_errno()
    remedy = f" (raise fs.inotify.{limit})" if code in (errno.ENOSPC, errno.EMFILE) else ""
    return f"{os.strerror(code)}{remedy}"
