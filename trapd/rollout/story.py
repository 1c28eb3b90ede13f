"""What a pass leaves behind: the pool's next state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from trapd.model import Ailment, Generation, PoolState
from trapd.rollout import want, worker_orders
from trapd.rollout.actions import (
    Advance,
    Clear,
    Doubt,
    Drain,
    Fail,
    Finish,
    Forget,
    Interrupt,
    Kill,
    Plan,
    Promote,
    PutTogether,
    Reject,
    Relieve,
    Renew,
    Start,
    Suspect,
    TakeApart,
    Verify,
)
from trapd.rollout.view import PoolView


def decided(view: PoolView, plan: Plan, generations: Mapping[int, Generation], now: float, wall: float) -> PoolState:
    """The pool's state after the plan; the same value if there is nothing to remember.

    Each step forward sets the progress deadline anew. To start again what failed is no step forward, nor is to start
    more of the generation that was before. Nor is it a lack of progress that the broker is away from the workers that
    were there before: nobody can do anything then.
    """
    state, seen = view.state, {instance.id for instance in view.instances}
    state = want.with_figures(state, plan.figures)
    state = want.with_probations(state, plan.probations)
    if _cut_off(view):
        state = want.progressed(state, now)
    for action in plan.actions:
        match action:
            case Advance():
                state = want.progressed(want.advance(state, action), now)
            case Promote() | Reject() | Fail() | Finish() | Doubt():
                verdict = want.decide(state, action, generations, view.spec.policy.on_failure, wall)
                state = want.progressed(verdict, now)
                state = want.finished(state, now) if isinstance(action, Finish) else state
            case Drain():
                state = want.progressed(state, now)
            case Start():
                again = action.instance in seen or action.instance.generation != state.wanted
                state = state if again else want.progressed(state, now)
            case Relieve():
                state = replace(state, relieved_at=action.at, rounds=action.number)
            case Suspect():
                state = _unless_over(want.suspected(state, action, now), now)
            case Verify():
                state = _unless_over(want.verified(state, action, now), now)
            case Clear():
                state = _unless_over(want.cleared(state, action), now)
            case Interrupt() | Kill() | Forget() | Renew() | TakeApart() | PutTogether():
                pass
            case _:
                assert_never(action)
    return worker_orders.done(state, view.instances)


def _unless_over(state: PoolState, now: float) -> PoolState:
    return want.progressed(state, now) if state.rollout is not None and not state.rollout.state.over else state


def _cut_off(view: PoolView) -> bool:
    rollout = view.state.rollout
    if rollout is None or rollout.state.over:
        return False
    return any(i.ailment is Ailment.CUT_OFF and i.id.generation != rollout.generation for i in view.instances)
