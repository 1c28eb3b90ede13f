"""Keeps the pins of runs: begins them, ends them, and rolls out what had to wait.

A pin is a part of the pool's state, so it is in the history. Who holds it is known here alone: a pin whose holder has
gone ends at once; after a start of trapd its holder has some time to take it up again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trapd.controller import Controller
from trapd.errors import HistoryError, RefusedError, SnapshotError
from trapd.event import Event, EventKind
from trapd.model import Pin
from trapd.rollout import pin
from trapd.rollout.intent import Cause, Nothing
from trapd.rollout.pin_begin import Later, later
from trapd.rollout.view import PoolView
from trapd.triggers import Triggers

log = logging.getLogger("trapd.pins")
AGAIN = 5.0  # s until an end is tried again that could not be written down


class Pins:
    """``run`` it for as long as the controller runs; without it no pin ends by itself."""

    def __init__(self, controller: Controller, triggers: Triggers) -> None:
        self._controller, self._triggers = controller, triggers
        self._given_up: dict[str, str] = {}  # pins by id, each with the reason, until their end is written down
        self._behind = False  # whether to look at what waited for a pin
        self._heard: dict[str, float] = {}  # pins by id: when their holder last gave a sign of life
        self._why_ended: dict[str, str] = {}  # of pins whose holder has yet to be told

    def find(self, pool: str, id: str) -> Pin | None:
        """This pin, as long as it holds."""
        held = self._controller.state(pool).pins
        return None if id in self._given_up else next((pin for pin in held if pin.id == id), None)

    async def begin(self, pools: Sequence[str], *, actor: str, reason: str) -> Mapping[str, Pin] | Later:
        """Pin the code of all these pools in one step, or say why that has to wait: then none is pinned, so that a run
        which waits for one pool holds up no other. Raises HistoryError if it cannot be written down."""
        known = self._controller
        async with known.making:  # what makes a generation has decided already to roll it out
            views = {name: await known.observe(name) for name in pools}
            waits = {
                n: w for n, view in views.items() if (w := later(view, known.generations, stopping=known.stopping))
            }
            for name in sorted(waits, key=lambda name: not waits[name].person):
                return replace(waits[name], pool=name)
            begun = {name: self._fresh(view, actor, reason) for name, view in views.items()}
            events = [self._pinned(name, held) for name, held in begun.items()]
            known.save([pin.added(known.state(name), held) for name, held in begun.items()], events)
        for event in events:
            words = "%s: pinned by %s: %s"
            log.info(words, event.pool, actor, event.reason, extra={"fields": {"POOL": event.pool}})
            known.wake(event.pool)
        known.notify()
        return begun

    def _fresh(self, view: PoolView, actor: str, reason: str) -> Pin:
        known, state = self._controller, view.state
        now, wall = known.clock.now(), known.clock.wall()
        installed = known.pool(view.spec.name).installed
        waits = isinstance(installed, Nothing) and installed.cause is Cause.PINNED
        until = pin.longest(state, view.spec.policy.longest_pin, now, waits=waits)
        return Pin(secrets.token_hex(8), actor, reason, state.wanted or 0, wall, now, until, wall + until - now)

    def _pinned(self, pool: str, held: Pin) -> Event:
        reason = f", for {held.reason}" if held.reason else ""
        why = f"generation {held.generation}{reason}, for {held.until - held.at:.0f} s at most"
        return Event(held.wall, EventKind.PINNED, why, held.actor, pool)

    async def take_up(self, pool: str, id: str, *, actor: str) -> Pin:
        """Its holder is connected again. Raises RefusedError if the pin has ended meanwhile."""
        known = self._controller
        async with known.making:
            held = self.find(pool, id)
            over = pin.over(known.state(pool), known.clock.now())
            if held is None or held.actor != actor or held.away_since is None or id in over:
                raise RefusedError(f"cannot take up the pin of pool {pool} again: it has ended")
            known.states[pool] = pin.taken_up(known.state(pool), id)  # the history needs no holder
        log.info("%s: the pin of %s is taken up again", pool, actor, extra={"fields": {"POOL": pool}})
        known.notify()
        return held

    def keep(self, id: str) -> None:
        """Its holder gives a sign of life."""
        self._heard[id] = self._controller.clock.now()

    def heard_at(self, id: str) -> float:
        """When its holder last gave a sign of life, of CLOCK_MONOTONIC; 0: never."""
        return self._heard.get(id, 0.0)

    def give_up(self, pool: str, id: str, why: str) -> None:
        """Nobody holds it any more. A pin that is there no more is left alone."""
        self._heard.pop(id, None)
        self._why_ended.pop(id, None)
        if self.find(pool, id) is not None:
            self._given_up[id] = why
            self._controller.notify()

    def why_ended(self, id: str) -> str:
        """The reason why a pin has ended whose holder is there."""
        return self._why_ended.get(id, "it has ended")

    async def override(self, pool: str, *, actor: str) -> None:
        """End all pins of the pool, and roll out what waits for them. Raises HistoryError."""
        why = f"overridden by {actor}"
        await self._end(pool, {held.id: why for held in self._controller.state(pool).pins}, actor)
        await self._look_again()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changed = self._controller.changed()  # taken before the look
            wait = await self._pass()
            await asyncio.wait([changed], timeout=wait)  # everybody's: not to be cancelled with us

    async def _pass(self) -> float | None:
        """End what is over. Returns for how many seconds there is nothing to do; None: until something changes."""
        known = self._controller
        for name, state in list(known.states.items()):
            removed = dict.fromkeys((held.id for held in state.pins), "the pool was removed from the configuration")
            over = {**pin.over(state, known.clock.now()), **self._given_up, **({} if name in known.specs else removed)}
            try:
                await self._end(name, over)
            except HistoryError:  # the controller has logged it
                return AGAIN
        if self._behind and not await self._look_again():
            return AGAIN
        at = pin.next_end(known.states.values())
        return None if at is None else max(0.0, at - known.clock.now())

    async def _end(self, pool: str, why: Mapping[str, str], actor: str = "") -> None:
        """End those of these pins that the pool has. ``actor``: who ends them; empty: their holders."""
        known = self._controller
        if not any(held.id in why for held in known.state(pool).pins):
            return
        async with known.making:
            state, now, wall = known.state(pool), known.clock.now(), known.clock.wall()
            ends = [held for held in state.pins if held.id in why]
            known.save([pin.without(state, why)], [self._ended(pool, p, why[p.id], actor, now, wall) for p in ends])
            self._behind = True
        for held in ends:
            if self._given_up.pop(held.id, None) is None and held.away_since is None:
                self._why_ended[held.id] = why[held.id]
            words = "%s: the pin of %s is over: %s"
            log.info(words, pool, held.actor, why[held.id], extra={"fields": {"POOL": pool}})
        known.wake(pool)
        known.notify()

    def _ended(self, pool: str, held: Pin, why: str, actor: str, now: float, wall: float) -> Event:
        lasted = round(max(0.0, now - held.at), 3)
        return Event(wall, EventKind.UNPINNED, why, actor or held.actor, pool, duration=lasted)

    async def _look_again(self) -> bool:
        """What waited for pins alone is rolled out. False if that has to be tried again."""
        try:
            await self._triggers.disk_changed(self._controller.disk)
        except HistoryError:  # the controller has logged it
            return False
        except SnapshotError as error:
            log.error("%s; trying again when what is installed has been looked at", error)
        self._behind = False
        return True
