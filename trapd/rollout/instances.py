"""One instance: what we want of it by what is seen of it, as a full grid. docs/states.md is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from trapd.model import Instance, InstanceState
from trapd.rollout import backoff
from trapd.rollout.actions import Drain, Effect, Forget, Interrupt, Kill, Start
from trapd.spec import Policy

INTERRUPT_GRACE = 10.0  # s that interrupted tasks have to clean up and end


class Desire(StrEnum):
    RUN = "run"
    DRAIN = "drain"  # finish what it runs, then leave
    GONE = "gone"  # leave at once


class Step(StrEnum):
    NOTHING = "nothing"
    WAIT = "wait"
    RESTART = "start after backoff"
    DRAIN = "drain"
    KILL = "kill"
    WAIT_FOR_DRAIN = "wait; past the drain timeout interrupt, then kill"
    FORGET = "forget"


_S = InstanceState
GRID: Mapping[tuple[Desire, InstanceState], Step] = {
    (Desire.RUN, _S.STARTING): Step.WAIT,  # the backend ends a start that takes too long
    (Desire.RUN, _S.READY): Step.NOTHING,
    (Desire.RUN, _S.DRAINING): Step.WAIT_FOR_DRAIN,  # a drain is never recalled; another slot takes its place
    (Desire.RUN, _S.STOPPING): Step.WAIT,
    (Desire.RUN, _S.FAILED): Step.RESTART,
    (Desire.DRAIN, _S.STARTING): Step.DRAIN,  # READY may be a moment behind its first task, so never kill
    (Desire.DRAIN, _S.READY): Step.DRAIN,
    (Desire.DRAIN, _S.DRAINING): Step.WAIT_FOR_DRAIN,
    (Desire.DRAIN, _S.STOPPING): Step.WAIT,
    (Desire.DRAIN, _S.FAILED): Step.FORGET,
    (Desire.GONE, _S.STARTING): Step.KILL,
    (Desire.GONE, _S.READY): Step.KILL,
    (Desire.GONE, _S.DRAINING): Step.KILL,
    (Desire.GONE, _S.STOPPING): Step.WAIT,
    (Desire.GONE, _S.FAILED): Step.FORGET,
}


def restart_at(instance: Instance) -> float:
    """When a failed instance may be started again."""
    return instance.failed_at + backoff.delay(instance.failures, instance.id.name)


def step(
    desire: Desire,
    instance: Instance,
    policy: Policy,
    now: float,
    why: str,
    awake_since: float = 0.0,
    interrupted_at: float | None = None,
) -> tuple[Effect | None, float | None]:
    """The action for one cell of the grid, or the time at which to look again. ``awake_since``, ``interrupted_at``:
    see World."""
    match GRID[desire, instance.state]:
        case Step.RESTART:
            at = restart_at(instance)
            return (Start(instance.id, why), None) if at <= now else (None, at)
        case Step.DRAIN:
            return Drain(instance.id, why), None
        case Step.KILL:
            return Kill(instance.id, why), None
        case Step.FORGET:
            return Forget(instance.id, why), None
        case Step.WAIT_FOR_DRAIN:
            return _past_drain_timeout(instance, policy, now, awake_since, interrupted_at)
        case Step.NOTHING | Step.WAIT:
            return None, None


def _past_drain_timeout(
    instance: Instance, policy: Policy, now: float, awake_since: float, interrupted_at: float | None
) -> tuple[Effect | None, float | None]:
    if policy.drain_timeout is None:
        return None, None
    at = max(instance.since, awake_since) + policy.drain_timeout
    if at > now:
        return None, at
    why = f"still busy after drain_timeout = {policy.drain_timeout:g} s"
    if interrupted_at is None:
        return Interrupt(instance.id, why), now  # what comes of it decides when to kill
    kill_at = interrupted_at + INTERRUPT_GRACE
    return (Kill(instance.id, why), None) if kill_at <= now else (None, kill_at)
