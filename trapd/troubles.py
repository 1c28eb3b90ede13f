"""What keeps trapd itself from its work, told apart from what keeps workers from theirs: since when, and until when.

A trouble is a sentence for people. Its beginning and its end are events; one that keeps the history from being written
is written down when that is possible again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from trapd.errors import HistoryError
from trapd.event import Event, EventKind

_ROOM = 1 << 20  # bytes that a state directory should have: a few events and a celeryconfig


def room(folder: Path) -> str:
    """Why nothing can be written below this folder, found out without writing; empty if something can."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return f"cannot use {folder}: {(error.strerror or str(error)).lower()}"
    if found.f_flag & os.ST_RDONLY:
        return f"cannot write to {folder}: its file system is read-only; see dmesg, and mount it again"
    free = (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize
    if free < _ROOM:
        return f"cannot write to {folder}: {free // 1024} KiB are free on its disk; make room there"
    if not os.access(folder, os.W_OK):
        return f"cannot write to {folder}: it does not belong to the user of trapd"
    return ""


class Troubles:
    """``known`` and ``on_disk`` are asked anew each time, the latter in a thread; an empty sentence is none. ``save``
    raises HistoryError."""

    def __init__(
        self,
        known: Callable[[], Iterable[str]],
        on_disk: Callable[[], Iterable[str]],
        save: Callable[[list[Event]], object],
    ) -> None:
        self._known, self._on_disk, self._save = known, on_disk, save
        self._since: dict[str, float] = {}  # sentence -> seconds since the epoch
        self._pending: list[Event] = []

    async def now(self) -> list[str]:
        """Each trouble once."""
        found = [*self._known(), *await asyncio.to_thread(lambda: list(self._on_disk()))]
        return list(dict.fromkeys(sentence for sentence in found if sentence))

    async def record(self, wall: float) -> list[str]:
        """The same; what has begun or ended since the last call is written down."""
        there = await self.now()
        for sentence in there:
            if sentence not in self._since:
                self._since[sentence] = wall
                self._pending.append(Event(wall, EventKind.TROUBLE, sentence))
        for sentence in [sentence for sentence in self._since if sentence not in there]:
            lasted = round(max(0.0, wall - self._since.pop(sentence)), 3)
            self._pending.append(Event(wall, EventKind.RELIEF, f"it is over: {sentence}", duration=lasted))
        if self._pending:
            try:
                self._save(self._pending)
            except HistoryError:
                return there  # which is a trouble itself
            self._pending = []
        return there
