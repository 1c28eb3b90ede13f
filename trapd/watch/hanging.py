"""Where a Python hangs: it is started with ``OPTIONS``, and says where it is when it is told to abort."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
from asyncio.subprocess import Process
from collections.abc import Collection
from types import TracebackType
from typing import Self

OPTIONS = ("-X", "faulthandler")  # on before any start-up file is executed
_MOST = 1 << 16  # bytes of standard error that are kept: a traceback has at most 100 lines of each thread
_PATIENCE = 2.0  # s for the traceback
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in ', re.MULTILINE)


class LastWords:
    """The end of what a process writes to its standard error, ``file``. It never waits for us to read that, and nobody
    waits until all that it has started has closed it."""

    def __enter__(self) -> Self:
        self._reader, self.file = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._words = b""
        asyncio.get_running_loop().add_reader(self._reader, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        os.close(self.file)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._words = (self._words + os.read(self._reader, _MOST))[-_MOST:]

    async def place(self, process: Process, *, ours: Collection[str]) -> str:
        """Abort the process; return where it was, as ``place`` does."""
        with contextlib.suppress(OSError):  # it may have ended
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))  # it is no crash to be reported
            os.kill(process.pid, signal.SIGABRT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await process.wait()
        self._read()
        return place(self._words.decode("utf-8", "replace"), ours=ours)


def place(words: str, *, ours: Collection[str]) -> str:
    """Of a traceback of faulthandler: file and line of the outermost code that is neither Python's start nor in a file
    of ours; empty if that cannot be told."""
    frames = _FRAME.findall(words.rpartition("Current thread ")[2].partition("\n\n")[0])
    for file, line in reversed(frames):
        if file == "<string>":
            inner = [(f, n) for f, n in frames[: frames.index((file, line))] if not f.startswith("<")]
            return (
                "{}:{}, for a line of a path file (.pth)".format(*inner[-1])
                if inner
                else "a line of a path file (.pth)"
            )
        if not file.startswith("<") and not file.endswith("/site.py") and file not in ours:
            return f"{file}:{line}"
    return ""
