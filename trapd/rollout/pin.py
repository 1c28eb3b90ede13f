"""Pins: runs that hold the code of a pool. Rollouts of other code wait; all else goes on.

A pin holds code, whatever the generation's number: a recycle, other settings and another celeryconfig make a new number
of the same code. So as long as a pool has pins, the wanted generation may only give way to one of the same code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from trapd.model import Generation, Pin, PoolState
from trapd.rollout import celeryconfig

KEPT = 60.0  # s for which a pin is kept that nobody holds, after trapd was started anew


def allowed(state: PoolState, generations: Mapping[int, Generation]) -> frozenset[int]:
    """The generations with the code of the wanted one, started as the same application, itself included."""
    wanted = generations.get(state.wanted or 0)
    if wanted is None:
        return frozenset()
    return frozenset(
        number
        for number, known in generations.items()
        if number == wanted.number
        or (known.application == wanted.application and celeryconfig.same_code(known, wanted))
    )


def sentence(state: PoolState) -> str:
    """Who holds the code, and for what: a sentence that does not change while they do, without a full stop."""
    holders = "; ".join(f"{pin.actor}{f', for {pin.reason}' if pin.reason else ''}" for pin in state.pins)
    return f"the code is pinned by {holders}"


def longest(state: PoolState, limit: float, now: float, *, waits: bool) -> float:
    """Until when a pin may last that begins now, of CLOCK_MONOTONIC; ``limit``: seconds that any may last.

    ``waits``: other code is held back already. Then no longer than the pins that are there, or a row of runs that
    overlap could keep that code waiting for ever.
    """
    others = max((pin.until for pin in state.pins), default=now + limit)
    return min(now + limit, others) if waits else now + limit


def added(state: PoolState, fresh: Pin) -> PoolState:
    return replace(state, pins=(*state.pins, fresh))


def without(state: PoolState, ids: Iterable[str]) -> PoolState:
    gone = set(ids)
    return replace(state, pins=tuple(pin for pin in state.pins if pin.id not in gone))


def abandoned(state: PoolState, now: float) -> PoolState:
    """The pool after a start of trapd: nobody holds its pins yet."""
    return replace(state, pins=tuple(replace(pin, away_since=now) for pin in state.pins))


def taken_up(state: PoolState, id: str) -> PoolState:
    """The pool with the holder of this pin there again."""
    return replace(state, pins=tuple(replace(p, away_since=None) if p.id == id else p for p in state.pins))


def over(state: PoolState, now: float) -> dict[str, str]:
    """The pins that end now, by id, each with the reason."""
    return {pin.id: why for pin in state.pins if (why := _over(pin, now))}


def _over(pin: Pin, now: float) -> str:
    if now >= pin.until:
        return "it lasted as long as any pin may, [rollout] longest_pin"
    if pin.away_since is not None and now >= pin.away_since + KEPT:
        return f"trapd was started anew, and nobody took the pin up within {KEPT:g} s"
    return ""


def next_end(states: Iterable[PoolState]) -> float | None:
    """When the next pin ends if nothing happens, of CLOCK_MONOTONIC; None if there is none."""
    moments = [pin.until for state in states for pin in state.pins]
    moments += [p.away_since + KEPT for state in states for p in state.pins if p.away_since is not None]
    return min(moments, default=None)
