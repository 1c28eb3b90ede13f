"""Learns when installers have come to their end: the kernel tells of each process (pidfd_open(2)), so nobody polls.

Who is at work is asked when something is written: at most once a second, but at once where it is the metadata of a
distribution. A fast installer (uv takes 0.1 s) may be gone by then; that is an end as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Awaitable, Callable

from trapd.contracts import Clock

PAUSE = 0.05  # seconds: in a script the next installer follows this fast, and the first one has not ended for it
AGAIN = 1.0  # seconds between two questions: each reads the command lines of all processes (5 ms of processor time)


class Endings:
    """``at_work`` returns the processes of installers. ``ended`` is called when none of them is there any more."""

    def __init__(
        self, clock: Clock, *, at_work: Callable[[], Awaitable[frozenset[int]]], ended: Callable[[], object]
    ) -> None:
        self._clock, self._at_work, self._ended = clock, at_work, ended
        self._followed: dict[int, int] = {}  # process -> descriptor that becomes readable at its end
        self._finished = False  # one has come to its end, for all that is known
        self._asking: asyncio.Task[None] | None = None
        self._asked = -math.inf

    def heard(self, *, metadata: bool = False) -> None:
        """Something was written. ``metadata``: a folder of metadata, as only installers do."""
        self._finished = self._finished or metadata
        if not self._followed and (self._finished or self._clock.now() >= self._asked + AGAIN):
            self._ask()

    def close(self) -> None:
        """Follow nobody any more."""
        if self._asking is not None:
            self._asking.cancel()
        for process in list(self._followed):
            self._leave(process)

    def _ask(self) -> None:
        if self._asking is None:
            self._asking = asyncio.create_task(self._find_out(), name="installers")

    async def _find_out(self) -> None:
        try:
            await asyncio.sleep(PAUSE)
            processes = await self._at_work()
            self._asked = self._clock.now()
            gone = [process for process in processes if not self._follow(process)]
        finally:
            self._asking = None
        if self._finished and not processes:
            self._finished = False
            self._ended()
        elif gone and not self._followed:
            self._left()

    def _follow(self, process: int) -> bool:
        """False if it is gone already."""
        if process in self._followed:
            return True
        with contextlib.suppress(OSError):  # no descriptor is left, say: then the quiet period has to do
            try:
                self._followed[process] = descriptor = os.pidfd_open(process)
            except ProcessLookupError:
                return False
            asyncio.get_running_loop().add_reader(descriptor, self._left, process)
        return True

    def _left(self, process: int | None = None) -> None:
        if process is not None:
            self._leave(process)
        self._finished = True
        if not self._followed:
            self._ask()

    def _leave(self, process: int) -> None:
        descriptor = self._followed.pop(process)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
