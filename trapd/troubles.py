"""What keeps trapd itself from its work, told apart from what keeps workers from theirs: since when, and until when.

A trouble is a sentence for people. Its beginning and its end are events. Those of one that keeps the history from being
written are put off: they are told at once, and written down when that is possible again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from trapd.contracts import History
from trapd.errors import HistoryError
from trapd.event import Event, EventKind
from trapd.model import PoolState

_NUMBERS = re.compile(r"[0-9]+")
_ROOM = 1 << 20  # bytes that a state directory should have: a few events and a celeryconfig


def alike(trouble: str) -> str:
    """The same for troubles that differ in their figures alone: bytes that are free, which change while it stays."""
    return _NUMBERS.sub("N", trouble)


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


class Controller(Protocol):
    """What is needed of trapd's controller. ``save`` raises HistoryError; ``wake`` has it look again, and tell that."""

    @property
    def history(self) -> History: ...
    def save(self, states: Sequence[PoolState], events: Sequence[Event]) -> None: ...
    def wake(self) -> None: ...


class Troubles:
    """``known`` and ``on_disk`` are asked anew each time, the latter in a thread; an empty sentence is none.

    What is found by ``now`` and is not recorded yet wakes the ``controller``, and so does what is to be tried again.
    """

    def __init__(
        self,
        known: Callable[[], Iterable[str]],
        on_disk: Callable[[], Iterable[str]],
        controller: Controller,
    ) -> None:
        self._known, self._on_disk, self._controller = known, on_disk, controller
        self._since: dict[str, tuple[float, str]] = {}  # alike -> seconds since the epoch, sentence
        self._heard = frozenset[str]()  # what the news were of

    async def now(self) -> list[str]:
        """Each trouble once."""
        there = await self._look()
        found = frozenset(map(alike, there))
        if found != self._since.keys() and found != self._heard:
            self._controller.wake()
        self._heard = found
        return there

    async def _look(self) -> list[str]:
        found = [*self._known(), *await asyncio.to_thread(lambda: list(self._on_disk()))]
        return list({alike(sentence): sentence for sentence in found if sentence}.values())

    async def record(self, wall: float) -> list[str]:
        """As ``now``; what has begun or ended since the last call is an event."""
        there = {alike(sentence): sentence for sentence in await self._look()}
        begun = {key: (wall, sentence) for key, sentence in there.items() if key not in self._since}
        over = [self._since.pop(key) for key in [key for key in self._since if key not in there]]
        self._since |= begun
        events = [Event(wall, EventKind.TROUBLE, sentence) for _, sentence in begun.values()]
        for since, sentence in over:
            lasted = round(max(0.0, wall - since), 3)
            events.append(Event(wall, EventKind.RELIEF, f"it is over: {sentence}", duration=lasted))
        if events:
            try:
                self._controller.save([], events)
            except HistoryError:  # which is a trouble itself
                self.put_off(events)
        return list(there.values())

    def put_off(self, events: Sequence[Event]) -> None:
        """Tell what cannot be written down now."""
        if events:
            with contextlib.suppress(HistoryError):  # it cannot be read either
                self._controller.history.put_off(events)
            self._controller.wake()
