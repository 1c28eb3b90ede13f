"""The moments at which a rollout changes its fate: promoted, rejected, failed, finished."""

from __future__ import annotations

from trapd.model import Ailment, Instance, InstanceState
from trapd.rollout.actions import Fail, Finish, Promote, Reject, Verdict
from trapd.rollout.blame import Blame, blame, failed_canary
from trapd.rollout.truth import available_at, unproven_because
from trapd.rollout.world import World


def verdict(world: World, now: float) -> Verdict | None:
    """The one verdict that is due, if any. While the pool is held there is none."""
    if world.state.wanted is None or world.held:
        return None
    if not world.proven:
        return _on_canary(world, world.state.wanted, now)
    if world.rollout is not None:
        return _finished(world, world.state.wanted, now) or _stuck(world, world.state.wanted, now)
    return None


def _on_canary(world: World, target: int, now: float) -> Verdict | None:
    for canary in world.available(now):
        doubt = unproven_because(canary)
        if not doubt:
            return Promote(
                target, f"{canary.id} was ready for {world.spec.policy.min_ready:g} s and runs what it should"
            )
        late = canary.report is not None or report_deadline(world, canary) <= now
        if world.fallback is not None and late:
            return Reject(target, f"{canary.id} is ready but cannot be trusted: {doubt}")
    failed = failed_canary(world, now)
    if failed is not None and failed.failure is not None and blame(world, failed) is Blame.CODE:
        why = f"{failed.id} failed to start ({failed.failure.summary}), and generation {world.fallback} starts"
        return Reject(target, why, failed.failure.detail)
    return None


def report_deadline(world: World, canary: Instance) -> float:
    """Until when a healthy canary may take its time to say what code it loaded."""
    healthy = available_at(canary, world.spec.policy.min_ready) or 0.0
    progressed = world.rollout.progressed_at if world.rollout is not None else 0.0
    return max(healthy, progressed) + world.spec.policy.progress_deadline


def _finished(world: World, target: int, now: float) -> Finish | None:
    wanted = world.wanted_workers
    mine = world.staying(target=True)
    if len(mine) == len(world.instances) == len(world.available(now)) == wanted:
        return Finish(target, f"{wanted} of {wanted} workers run generation {target}")
    return None


def progress_deadline(world: World, now: float) -> float | None:
    """When the rollout counts as stuck, or None while nothing but drains (which may take hours) or a start within
    its own limits is awaited."""
    rollout = world.rollout
    late = _unavailable(world, now)
    if rollout is None or not world.proven or not late or world.held:
        return None
    min_ready = world.spec.policy.min_ready
    moments = [rollout.progressed_at]
    for instance in world.staying(target=True):
        healthy = available_at(instance, min_ready)
        moments += [at for at in (instance.ready_at, healthy) if at is not None and at <= now]
    return max(moments) + world.spec.policy.progress_deadline


def _unavailable(world: World, now: float) -> list[Instance]:
    """Not those that start for the first time: that has limits of its own, and a broker's outage prolongs them. Nor
    those that are ready and cut off: no other code would bring the broker back."""
    there = {i.id for i in world.available(now)}
    mine = [i for i in world.staying(target=True) if i.id not in there and not _cut_off(i)]
    return [i for i in mine if i.failures or i.state is not InstanceState.STARTING]


def _cut_off(instance: Instance) -> bool:
    return instance.state is InstanceState.READY and instance.ailment is Ailment.CUT_OFF


def _stuck(world: World, target: int, now: float) -> Fail | None:
    deadline = progress_deadline(world, now)
    if deadline is None or deadline > now:
        return None
    late = _unavailable(world, now)[0]
    said = late.failure.summary if late.failure and late.state is InstanceState.FAILED else late.status
    limit = f"progress_deadline = {world.spec.policy.progress_deadline:g} s"
    return Fail(
        target,
        f"no progress within {limit}: {late.id} is {late.state}" + (f" ({said})" if said else ""),
        late.failure.detail if late.failure else "",
    )
