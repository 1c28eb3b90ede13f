"""Which workers run, and are to be replaced all the same: they take no tasks although there are some. Why, and when.

They are replaced in rounds. Everybody who was ready when a round began is replaced in it, as fast as the pool's budget
allows. Whoever became ready later is such a replacement: if it does not consume either, a new worker was no help, and
the next round waits, each time longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trapd.durations import age
from trapd.model import Ailment, Instance, InstanceId, InstanceState
from trapd.rollout.actions import Relieve
from trapd.rollout.world import World

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
    wrong = {i.id: why for i in world.staying(target=True) if (why := wrong_with(i))}
    ill = [i for i in world.staying(target=True) if i.id in wrong]
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


def wrong_with(instance: Instance) -> str:
    """Why a worker is to be replaced, in words that follow its name; empty if it is not."""
    if instance.state is InstanceState.READY and instance.ailment is Ailment.IDLE:
        return f"is {instance.status}"
    return ""
