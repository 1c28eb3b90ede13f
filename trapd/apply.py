"""One action, one call on a contract. No policy: why and when were decided by the plan."""

from __future__ import annotations

from typing import assert_never

from trapd.contracts import Backend
from trapd.model import Event, Generation, OnFailure, PoolState
from trapd.rollout import want
from trapd.rollout.actions import (
    Action,
    Advance,
    Drain,
    Effect,
    Fail,
    Finish,
    Forget,
    Kill,
    Plan,
    Promote,
    Reject,
    Start,
)

_PAST = {"start": "started", "drain": "drained", "kill": "killed", "forget": "forgot", "promote": "promoted"}
_PAST |= {"reject": "rejected", "fail": "failed", "finish": "finished"}


def decided(
    state: PoolState, plan: Plan, generations: dict[int, Generation], on_failure: OnFailure, now: float, wall: float
) -> PoolState:
    """The pool's state after the plan's verdicts; the same object if there is nothing to remember."""
    for action in plan.actions:
        match action:
            case Advance():
                state = want.progressed(want.advance(state, action), now)
            case Promote() | Reject() | Fail() | Finish():
                state = want.progressed(want.decide(state, action, generations, on_failure, wall), now)
            case Drain():
                state = want.progressed(state, now)
            case Start() | Kill() | Forget():
                pass
            case _:
                assert_never(action)
    return state


def event(action: Action, state: PoolState, wall: float) -> Event:
    """The line of history that this action leaves."""
    instance = action.instance
    generation = instance.generation if instance else getattr(action, "generation", state.wanted)
    return Event(
        wall=wall,
        what=str(action.state) if isinstance(action, Advance) else _PAST[action.verb],
        why=action.why,
        pool=state.pool,
        rollout=state.rollout.id if state.rollout and state.rollout.generation == generation else None,
        generation=generation,
        instance=instance.name if instance else None,
        detail=getattr(action, "detail", ""),
    )


async def carry_out(backend: Backend, effect: Effect) -> None:
    """Do it. Raises BackendError if it cannot be done; the next pass looks again."""
    match effect:
        case Start():
            await backend.start(effect.instance)
        case Drain():
            await backend.drain(effect.instance)
        case Kill():
            await backend.kill(effect.instance)
        case Forget():
            await backend.forget(effect.instance)
        case _:
            assert_never(effect)
