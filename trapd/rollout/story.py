"""What a pass leaves behind: the pool's next state, and the lines of history that tell of its actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import assert_never

from trapd.event import Event, EventKind
from trapd.model import Ailment, Generation, InstanceState, PoolState
from trapd.rollout import want
from trapd.rollout.actions import (
    Action,
    Advance,
    Doubt,
    Drain,
    Fail,
    Finish,
    Forget,
    Kill,
    Plan,
    Promote,
    Reject,
    Renew,
    Start,
)
from trapd.rollout.view import PoolView

_KIND = {
    "start": EventKind.STARTED,
    "drain": EventKind.DRAINING,
    "kill": EventKind.KILLED,
    "forget": EventKind.FORGOT,
    "promote": EventKind.PROMOTED,
    "reject": EventKind.REJECTED,
    "fail": EventKind.GIVEN_UP,
    "finish": EventKind.FINISHED,
    "doubt": EventKind.DOUBTED,
}


def decided(view: PoolView, plan: Plan, generations: Mapping[int, Generation], now: float, wall: float) -> PoolState:
    """The pool's state after the plan; the same value if there is nothing to remember.

    Each step forward sets the progress deadline anew. To start again what failed is no step forward, nor is to start
    more of the generation that was before. Nor is it a lack of progress that the broker is away from the workers that
    were there before: nobody can do anything then.
    """
    state, seen = view.state, {instance.id for instance in view.instances}
    if _cut_off(view):
        state = want.progressed(state, now)
    for action in plan.actions:
        match action:
            case Advance():
                state = want.progressed(want.advance(state, action), now)
            case Promote() | Reject() | Fail() | Finish() | Doubt():
                verdict = want.decide(state, action, generations, view.spec.policy.on_failure, wall)
                state = want.progressed(verdict, now)
            case Drain():
                state = want.progressed(state, now)
            case Start():
                again = action.instance in seen or action.instance.generation != state.wanted
                state = state if again else want.progressed(state, now)
            case Kill() | Forget() | Renew():
                pass
            case _:
                assert_never(action)
    return state


def _cut_off(view: PoolView) -> bool:
    rollout = view.state.rollout
    if rollout is None or rollout.state.over:
        return False
    return any(i.ailment is Ailment.CUT_OFF and i.id.generation != rollout.generation for i in view.instances)


def event(action: Action, state: PoolState, wall: float) -> Event:
    """The line of history that this action leaves."""
    instance = action.instance
    generation = instance.generation if instance else getattr(action, "generation", state.wanted)
    return Event(
        wall=wall,
        kind=EventKind(action.state) if isinstance(action, Advance) else _KIND[action.verb],
        reason=action.why,
        pool=state.pool,
        rollout=rollout_of(state, generation),
        generation=generation,
        instance=instance.name if instance else None,
        detail=getattr(action, "detail", ""),
    )


def receipts(before: PoolView | None, view: PoolView, now: float, wall: float) -> Iterator[Event]:
    """Lines of history about the instances that have left since the pass before; what failed is still there."""
    there = {instance.id for instance in view.instances}
    for one in before.instances if before else ():
        if one.id in there or one.state is InstanceState.FAILED:
            continue
        why = "left"
        if one.state is InstanceState.DRAINING:
            why = f"left {now - one.since:.1f} s after it was told to"
        elif one.state is InstanceState.STOPPING:
            why = "was ended" + (f": {one.status}" if one.status else "")
        rollout = rollout_of(view.state, one.id.generation)
        yield Event(wall, EventKind.GONE, why, "trapd", one.id.pool, rollout, one.id.generation, one.id.name)


def rollout_of(state: PoolState, generation: int | None) -> int | None:
    """The rollout for whose sake something was done to this generation, which may be the one that it replaces."""
    latest = state.rollout
    return None if latest is None or (latest.state.over and latest.generation != generation) else latest.id
