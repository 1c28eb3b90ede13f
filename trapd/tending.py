"""Looks after generations that are there already: compares them with what was copied, has them compiled, and has links
made ahead of them for the next one.

All is compared when trapd starts, and a generation when a start on it fails. A damaged one is as good as gone: what is
installed is made anew if it is the same code, else the last good generation serves, and the problem is named.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from trapd.controller import Controller
from trapd.errors import HistoryError, SnapshotError
from trapd.model import DiskState
from trapd.rollout import changes
from trapd.triggers import Triggers

log = logging.getLogger("trapd.tending")
_SHOWN = 2  # paths in a sentence
AGAIN = 300.0  # seconds until a generation on which starts go on failing is read once more


class Tending:
    """``run`` it for as long as the controller runs."""

    def __init__(self, controller: Controller, triggers: Triggers) -> None:
        self._controller, self._triggers = controller, triggers
        self._compiled: set[int] = set()
        self._linked: frozenset[int] | None = None  # what there was when links were made ahead
        self._failed: dict[int, float] = {}  # generation -> the failed start that it was last examined for

    async def run(self) -> None:
        """Until cancelled."""
        snapshots = self._controller.snapshots
        await self._examine(snapshots.present())
        while True:
            changed = self._controller.changed()  # taken before the look
            self._compiled &= snapshots.present()
            await self._compare()
            if failed := self._newly_failed():
                await self._examine(failed)
            for number in sorted(snapshots.present() - self._compiled, reverse=True)[:1]:
                self._compiled.add(number)
                await snapshots.compile(number)
            if not (snapshots.present() - self._compiled):
                await self._link_ahead()
                await asyncio.wait([changed])  # everybody's: not to be cancelled with us

    async def _link_ahead(self) -> None:
        """For the next generation, once after each change of what there is, while nothing else is to be done."""
        known, present = self._controller, self._controller.snapshots.present()
        rolling = any(state.rollout and not state.rollout.state.over for state in known.states.values())
        busy = rolling or known.making.locked() or known.stopping or known.disk.state is not DiskState.SETTLED
        if present != self._linked and not busy and await known.snapshots.link_ahead():
            self._linked = present

    def troubles(self) -> list[str]:
        """What is wrong with generations that are wanted, in sentences for people."""
        wanted = {state.wanted for state in self._controller.states.values()}
        return [
            f"generation {number} is damaged: {why}; it is made anew as soon as its code is installed whole"
            for number, why in self._controller.snapshots.damaged().items()
            if number in wanted
        ]

    def warnings(self) -> list[str]:
        """What wanted generations do not have, in sentences for people."""
        wanted = {state.wanted for state in self._controller.states.values() if state.wanted is not None}
        without = {number: self._controller.snapshots.left_out(number) for number in sorted(wanted)}
        return [
            f"cannot read {_in_short(files)}: permission denied; generation {number} is made without; let trapd read "
            "what your code needs of it, before the next upgrade"
            for number, files in without.items()
            if files
        ]

    def _newly_failed(self) -> set[int]:
        """Generations on which a start has failed that was not looked into."""
        found = set()
        for view in self._controller.pools():
            for instance in view.instances:
                failure, number = instance.failure, instance.id.generation
                if failure is not None and failure.at > self._failed.get(number, float("-inf")) + AGAIN:
                    self._failed[number] = failure.at
                    found.add(number)
        return found

    async def _examine(self, numbers: Iterable[int]) -> None:
        if not await self._controller.snapshots.examine(numbers):
            return
        self._controller.notify()
        await self._decide()

    async def _compare(self) -> None:
        """What workers have loaded late may be another than what is installed now."""
        known = self._controller
        wanted = {state.wanted for state in known.states.values()}
        settled = known.disk.state is DiskState.SETTLED and not known.making.locked()
        if settled and changes.overtaken(known.disk, known.generations.values(), wanted):
            await self._decide()

    async def _decide(self) -> None:
        try:
            await self._triggers.disk_changed(self._controller.disk, actor="trapd")
        except (HistoryError, SnapshotError) as error:
            log.error("%s; trying again when what is installed has been looked at", error)


def _in_short(files: Sequence[str]) -> str:
    more = len(files) - _SHOWN
    return ", ".join(files) if more <= 0 else f"{', '.join(files[:_SHOWN])} and {more} more"
