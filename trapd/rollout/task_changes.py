"""Compare the registered tasks of the code before with those of the new code: what submitters may still send.

Submitters are upgraded at another time than workers, and messages wait in queues. So a task that the new code drops, or
has with another signature, is named before the new code serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from trapd.event import Event, EventKind
from trapd.model import Generation, PoolState, Rollout, TaskChanges

SHOWN = 6  # names in a sentence; the documents have all
GATE = "tasks"  # rollout/gates.py
PARKED = "QUEUE.trapd-parked"  # worker/parking.py


def between(before: Mapping[str, str], after: Mapping[str, str]) -> TaskChanges:
    """What the tasks ``before`` have lost. An empty digest says that there is no signature, which differs from none."""
    both = before.keys() & after.keys()
    return TaskChanges(
        missing=tuple(sorted(before.keys() - after.keys())),
        altered=tuple(sorted(n for n in both if before[n] and after[n] and before[n] != after[n])),
    )


def compared(
    state: PoolState, generations: Mapping[int, Generation], wall: float
) -> tuple[PoolState, tuple[Event, ...]] | None:
    """The pool once the tasks of the rollout under way have been compared, with the event that tells of changes; None
    if they were compared before, or one of the generations has not told its tasks yet."""
    rollout = state.rollout
    if rollout is None or rollout.state.over or rollout.tasks is not None:
        return None
    before, after = _tasks(generations, rollout.previous), _tasks(generations, rollout.generation)
    if before is None or after is None:
        return None
    found = between(before, after)
    rollout = replace(rollout, tasks=found)
    about = (state.pool, rollout.id, rollout.generation)
    event = Event(wall, EventKind.TASKS_CHANGED, sentence(rollout), "worker", *about)
    return replace(state, rollout=rollout), (event,) if found else ()


def may_serve(state: PoolState, generations: Mapping[int, Generation], number: int, *, holds: bool) -> bool:
    """May a worker of this generation take tasks? Not the first one, until its tasks have been compared; and where the
    pool ``holds`` rollouts that drop or alter tasks, not before the gate while they differ."""
    rollout = state.rollout
    if rollout is None or rollout.state.over or rollout.generation != number or number in state.good:
        return True
    if rollout.tasks is None:
        return _tasks(generations, rollout.previous) is None
    return not holds or not rollout.tasks or GATE in rollout.opened


def sentence(rollout: Rollout | None) -> str:
    """Which tasks, and what becomes of their messages; empty if there is nothing to tell."""
    if rollout is None or rollout.tasks is None:
        return ""
    found, parts = rollout.tasks, []
    if found.missing:
        parts.append(
            f"generation {rollout.generation} does not have {_named(found.missing)}: the messages wait in "
            f"{PARKED} until a worker knows the name"
        )
    if found.altered:
        parts.append(
            f"generation {rollout.generation} has another signature for {_named(found.altered)}: a message with "
            "arguments of the signature before may fail"
        )
    return "; ".join(parts)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ("task " if len(names) == 1 else "tasks ") + ", ".join(names[:SHOWN]) + more


def _tasks(generations: Mapping[int, Generation], number: int | None) -> Mapping[str, str] | None:
    known = generations.get(number) if number is not None else None
    return known.tasks if known is not None else None
