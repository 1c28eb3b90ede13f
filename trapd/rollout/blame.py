"""Whose fault is a canary that fails? Attribution before blame.

The same start is asked of the last good generation. If that fails as well, the environment is to blame (a broker,
memory, a shared library), and the new code is tried again later. If it works, the trouble may still have passed in
between: the new code is tried once more, and is to blame if it fails now. Passenger, which blames any failed start,
freezes on a passing lack of memory.
"""

from __future__ import annotations

from enum import Enum, auto

from trapd.model import Failure, FailureKind, Instance, InstanceState, RolloutState
from trapd.rollout.world import World, exhausted


class Blame(Enum):
    CODE = auto()
    ENVIRONMENT = auto()
    DOUBT = auto()  # the good generation started, but later: try the new one once more
    UNKNOWN = auto()  # ask: start one more of the last good generation


def failed_canary(world: World, now: float) -> Instance | None:
    """The canary whose tries are used up, while the wanted generation is unproven and there is one to compare with.

    Or that fails when it has only one: in its retrial, and past the progress deadline, for with a long min_ready its
    failures may be forgiven again and again (B9).
    """
    if world.proven or world.fallback is None:
        return None
    rollout, deadline = world.rollout, world.spec.policy.progress_deadline
    overdue = rollout is not None and rollout.progressed_at + deadline <= now
    waits = rollout is not None and rollout.state is RolloutState.WAITING  # a person may take any time
    late = (rollout is not None and rollout.state is RolloutState.RETRIAL) or (overdue and not waits)
    mine = world.staying(target=True)
    return next((i for i in mine if exhausted(i) or (late and _at_fault(i))), None)


def _at_fault(instance: Instance) -> bool:
    ended_by_broker = instance.failure is not None and instance.failure.kind is FailureKind.BROKER
    return instance.state is InstanceState.FAILED and not ended_by_broker


def witness_failure(world: World, canary: Instance) -> Failure | None:
    """The latest failure of the good generation since the canary's: what clears the new code of blame. A hang takes its
    time to show, so of one that hung in its retrial, since that began."""
    since, rollout, failure = canary.failed_at, world.rollout, canary.failure
    if (
        rollout is not None
        and rollout.state is RolloutState.RETRIAL
        and failure
        and failure.kind is FailureKind.WATCHDOG
    ):
        since = min(since, rollout.progressed_at)
    good = [i for i in world.instances if i.id.generation == world.fallback]
    later = [i.failure for i in good if i.failure is not None and clears(i, canary, since)]
    return max(later, key=lambda f: f.at, default=None)


def clears(witness: Instance, canary: Instance, since: float) -> bool:
    """Does the failure of this worker of the good generation speak for the canary? Like is compared with like: that a
    worker which served for days has crashed tells nothing of a start."""
    failure, failed = witness.failure, canary.failure
    if failure is None or failure.at <= since:
        return False
    return not failure.was_ready or (failed is not None and failed.was_ready)


def speaks_of_environment(world: World, failed: Instance, instance: Instance) -> bool:
    """Is this one a failure of the good generation that clears the canary?"""
    of_good = instance.id.generation == world.fallback
    return of_good and instance.state is InstanceState.FAILED and clears(instance, failed, failed.failed_at)


def blame(world: World, canary: Instance) -> Blame:
    """What the last good generation's own starts since then say. A failure outweighs a success."""
    if witness_failure(world, canary) is not None:
        return Blame.ENVIRONMENT
    since, rollout = canary.failed_at, world.rollout
    if rollout is not None and rollout.state is RolloutState.RETRIAL:
        return Blame.CODE if since > rollout.progressed_at else Blame.DOUBT
    for instance in world.instances:
        if instance.id.generation == world.fallback and instance.ready_at is not None and instance.ready_at > since:
            hung = canary.failure is not None and canary.failure.kind is FailureKind.TIMEOUT
            return Blame.CODE if hung or rollout is None else Blame.DOUBT  # a hang takes all of progress_deadline
    return Blame.UNKNOWN
