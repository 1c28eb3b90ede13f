"""A history that is whole, and older than what is there: a backup was put back, or its -wal file was removed.

Generations that it does not know have snapshots then, or workers. What runs is not undone for it: it serves until what
is installed has proven itself, under a new number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from trapd.model import Instance, InstanceState, PoolState
from trapd.rollout import want


def newest(last: int, there: Iterable[int]) -> int | None:
    """The newest generation that is ``there``, if ``last``, the latest number that the history gave, is an older one.

    An empty history is no older one: it was begun anew on purpose.
    """
    found = max(there, default=0)
    return found if 0 < last < found else None


def problem(newest: int, known: Collection[int], states: Iterable[PoolState]) -> str:
    """In a sentence, until a rollout goes beyond ``newest`` (0: nothing is lost) and every pool wants what is known."""
    unknown = any(state.wanted is not None and state.wanted not in known for state in states)
    if not newest or (max(known, default=0) > newest and not unknown):
        return ""
    return (
        f"the history has lost its end: generation {newest} is there, and not in it (was a backup put back?); what runs"
        " serves until what is installed has proven itself; trapctl recycle begins anew"
    )


def as_seen(state: PoolState, last: int, seen: Iterable[Instance], wall: float) -> PoolState:
    """The pool, wanting what its workers run, where none that is ready is of a generation that the history knows."""
    ready = [instance.id.generation for instance in seen if instance.state is InstanceState.READY]
    if not ready or min(ready) <= last:
        return state
    serving = max(ready)
    ended = want.supersede(state, f"generation {serving} runs, of which the history has lost its record", wall)
    state = ended[-1] if ended else state
    good = (*(number for number in state.good if number != serving), serving)
    return replace(state, wanted=serving, good=good[-want.GOOD_KEPT :])
