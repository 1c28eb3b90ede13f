"""The moments at which a rollout changes its fate: promoted, rejected, failed, finished, brought into doubt again."""

from __future__ import annotations

from dataclasses import replace

from trapd.model import Ailment, FailureKind, Instance, InstanceState, RolloutState
from trapd.rollout.actions import Doubt, Fail, Finish, Promote, Reject, Verdict
from trapd.rollout.blame import Blame, blame, failed_canary
from trapd.rollout.gates import closed
from trapd.rollout.judge import Evidence
from trapd.rollout.trial import delay, find, observed_until, on_probation
from trapd.rollout.truth import available, healthy_at, unfit_because, unproven_because
from trapd.rollout.world import TRIES, World, exhausted
from trapd.spec import OnFailure


def verdict(world: World, now: float) -> Verdict | None:
    """The one verdict that is due, if any. While the pool is held, or the rollout tentative, there is none."""
    target = world.state.wanted
    if target is None or world.held or world.tentative:
        return None
    found = find(world, now)
    if found.evidence is not None:
        return _convicted(world, target, found.evidence)
    if closed(world, now) is not None:
        return None
    if not world.proven:
        return _on_canary(world, target, now) or _overdue(world, target, now)
    doubt = _in_doubt(world, target, now)
    if doubt is None and world.rollout is not None:
        compares = found.suspects or found.open  # whoever waits for the rollout would read success, and go on
        return (None if compares else _finished(world, target, now)) or _stuck(world, target, now)
    return doubt


def _on_canary(world: World, target: int, now: float) -> Verdict | None:
    for canary in world.available(now):
        doubt = unproven_because(canary)
        if not doubt and delay(world, canary, now):
            return None
        if not doubt:
            return Promote(target, f"{canary.id} was ready for {world.proof(canary):g} s and runs what it should")
        late = canary.report is not None or report_deadline(world, canary) <= now
        if world.fallback is not None and late:
            return Reject(target, f"{canary.id} is ready but cannot be trusted: {doubt}")
    failed = failed_canary(world, now)
    if failed is not None and failed.failure is not None and blame(world, failed) is Blame.CODE:
        failed_how = "failed" if failed.failure.was_ready else "failed to start"
        why = f"{failed.id} {failed_how} ({failed.failure.summary}), and generation {world.fallback} starts"
        return Reject(target, why, failed.failure.detail)
    return None


def _convicted(world: World, target: int, evidence: Evidence) -> Verdict:
    """Before the generation was good its code is rejected; afterwards the pool goes back, or is held, as on_failure
    says."""
    if world.proven:
        return Fail(target, str(replace(evidence, who="new workers")))
    return Reject(target, str(evidence))


def report_deadline(world: World, canary: Instance) -> float:
    """Until when a canary may take its time: to be well, and to say what code it loaded."""
    healthy = max(healthy_at(canary, world.proof(canary)) or 0.0, observed_until(world, canary))
    progressed = world.rollout.progressed_at if world.rollout is not None else 0.0
    return max(healthy, progressed) + world.spec.policy.progress_deadline


def _late_canary(world: World) -> Instance | None:
    """The one that keeps a generation from being promoted, and on which no other limit falls.

    Not one that starts: its backend ends that in time, or prolongs it as long as the broker is away; then it is late
    only beside others that have their broker. Nor one that failed beside a good generation, which is asked first.
    """
    if world.rollout is None or world.proven or world.held or world.cut_off:
        return None
    if world.rollout.state is RolloutState.WAITING:  # a person may take any time
        return None
    for one in sorted(world.staying(target=True), key=lambda i: i.state is not InstanceState.READY):
        starts = one.state is InstanceState.STARTING and not one.failures
        if one.state is InstanceState.READY or (starts and one.ailment is Ailment.CUT_OFF):
            return one
        if world.fallback is None and not starts:
            return one
    return None


def canary_deadline(world: World) -> float | None:
    """When a generation that nothing has proved until then is given up, whatever the reason."""
    late = _late_canary(world)
    return None if late is None else report_deadline(world, late)


def _overdue(world: World, target: int, now: float) -> Verdict | None:
    late, deadline = _late_canary(world), canary_deadline(world)
    if late is None or deadline is None or deadline > now:
        return None
    limit = f"progress_deadline = {world.spec.policy.progress_deadline:g} s"
    why = f"not proven within {limit}: {late.id} {unfit_because(late)}"
    detail = late.failure.detail if late.failure else ""
    return Fail(target, why, detail) if world.fallback is None else Reject(target, why, detail)


def _in_doubt(world: World, target: int, now: float) -> Doubt | Fail | None:
    """Workers of a generation that was proven lately end by their watchdog, or in its probation in any other way, again
    and again: it has to prove itself anew, beside the good one before it, or is held. Lately: within progress_deadline
    after the rollout was complete."""
    latest = world.state.rollout
    if world.fallback is None or latest is None or latest.generation != target:
        return None
    if latest.state.over and latest.state is not RolloutState.COMPLETE:
        return None
    until = latest.progressed_at + world.spec.policy.progress_deadline if latest.state.over else float("inf")
    probation = on_probation(world, now)
    for one in world.staying(target=True):
        failure = one.failure
        hung = failure is not None and failure.kind is FailureKind.WATCHDOG and failure.at <= until
        loops = probation and one.failures >= TRIES[FailureKind.CRASH]  # one start that fails is no loop
        if failure is None or not exhausted(one) or not (hung or loops):
            continue
        how = "ended by its watchdog" if hung else "failed"
        why = f"{one.id} {how} {one.failures} times in a row ({failure.summary})"
        hold = probation and world.spec.policy.on_failure is OnFailure.HOLD
        return Fail(target, why, failure.detail) if hold else Doubt(target, why, failure.detail)
    return None


def _finished(world: World, target: int, now: float) -> Finish | None:
    wanted = world.wanted_workers
    mine = world.staying(target=True)
    if len(mine) == len(world.instances) == len(world.available(now)) == wanted:
        return Finish(target, f"{wanted} of {wanted} workers run generation {target}")
    return None


def progress_deadline(world: World, now: float) -> float | None:
    """When the rollout counts as stuck, or None while nothing but drains (which may take hours), a start within its own
    limits, or the broker is awaited."""
    rollout = world.rollout
    late = _unavailable(world, now)
    if rollout is None or not world.proven or not late or world.held or world.cut_off:
        return None
    moments = [rollout.progressed_at]
    for instance in world.staying(target=True):
        if instance.ready_at is not None and not instance.failures:  # who failed and starts again is no progress
            moments.append(instance.ready_at)
        healthy = healthy_at(instance, world.proof(instance))
        if healthy is not None and available(instance, world.proof(instance), now):
            moments.append(healthy)
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
    limit = f"progress_deadline = {world.spec.policy.progress_deadline:g} s"
    return Fail(
        target,
        f"no progress within {limit}: {late.id} {unfit_because(late)}",
        late.failure.detail if late.failure else "",
    )
