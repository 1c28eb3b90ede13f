"""Which workers run, and are to be replaced all the same, why, and when.

A worker that is older than max_age, or whose main process has outgrown max_memory, goes when its time has come: its
successor begins anew. The same holds for one that a person recycles.

Those that take no tasks although there are some are replaced in rounds. Everybody who was ready when a round began is
replaced in it, as fast as the pool's budget allows. Whoever became ready later is such a replacement: if it does not
consume either, a new worker was no help, and the next round waits, each time longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from zlib import crc32

from trapd.durations import age
from trapd.model import Ailment, Instance, InstanceId, InstanceState
from trapd.rollout import worker_orders
from trapd.rollout.actions import Relieve
from trapd.rollout.world import World
from trapd.spec import PoolSpec

GROWN = 600.0  # s that a worker is ready at least before it goes for its memory: a limit that is too low is no loop
JITTER = 0.1  # of max_age, earlier
PAUSE, FACTOR, LONGEST = 300.0, 4.0, 14400.0  # s between the first two rounds; how it grows; and its limit
FORGIVEN = 6 * 3600.0  # s after which the next round is a first one again


@dataclass(frozen=True, slots=True)
class Relief:
    """``due``: who is to be replaced now, and why. ``round``: one begins; ``wake_at``, ``waiting``: one is awaited."""

    due: Mapping[InstanceId, str] = field(default_factory=dict)
    round: Relieve | None = None
    wake_at: float | None = None
    waiting: str = ""


def relief(world: World, now: float) -> Relief:
    """Whom to replace, of the wanted generation: an upgrade under way replaces the others."""
    limits = {i.id: _limit(world.spec, i) for i in world.staying(target=True)}
    past = {id: why for id, (at, why) in limits.items() if at <= now}
    past |= {i.id: why for i in world.staying(target=True) if (why := worker_orders.to_be_replaced(world.state, i))}
    ahead = min((at for at, _ in limits.values() if now < at < math.inf), default=None)
    found = _idle(world, now)
    wake_at = min((at for at in (ahead, found.wake_at) if at is not None), default=None)
    return replace(found, due={**past, **found.due}, wake_at=wake_at)


def _limit(spec: PoolSpec, instance: Instance) -> tuple[float, str]:
    """When a worker's time has come, and why, in words that follow its name."""
    if instance.state is not InstanceState.READY or instance.ready_at is None:
        return math.inf, ""
    limits = []
    if instance.ailment is Ailment.OUTGROWN:
        limits.append((instance.ready_at + GROWN, f"has outgrown max_memory: {instance.status}"))
    if spec.max_age is not None:
        spread = crc32(instance.id.name.encode()) / 0xFFFFFFFF
        at = instance.ready_at + spec.max_age * (1 - JITTER * spread)
        limits.append((at, f"is about as old as max_age = {age(spec.max_age)} allows"))
    return min(limits, default=(math.inf, ""))


def _idle(world: World, now: float) -> Relief:
    """Those that take no tasks: the round that is on, that begins now, or that is waited for."""
    ill = [i for i in world.staying(target=True) if i.state is InstanceState.READY and i.ailment is Ailment.IDLE]
    wrong = {i.id: f"is {i.status}" for i in ill}
    began, number = world.state.relieved_at, world.state.rounds
    if began is None or now >= began + FORGIVEN or began > now:
        began, number = None, 0
    again = [i for i in ill if began is not None and (i.ready_at or i.since) > began]
    at = now if began is None else began + pause(number)
    if not ill:
        return Relief()
    if began is not None and (not again or at > now):
        due = {i.id: wrong[i.id] for i in ill if i not in again}
        if not again:
            return Relief(due)
        names = ", ".join(i.id.name for i in again)
        waiting = f"another try in {age(at - now)}: {names} took the place of others, and {wrong[again[0].id]} as well"
        return Relief(due, None, at, waiting)
    names = ", ".join(i.id.name for i in ill)
    why = f"{names} {wrong[ill[0].id]}" + (f"; round {number + 1} in a row" if number else "")
    return Relief(wrong, Relieve(now, number + 1, why))


def pause(number: int) -> float:
    """Seconds between the start of a round and that of the next, if the first did not help."""
    return min(LONGEST, PAUSE * FACTOR ** min(number - 1, 16))
