"""The thinking: one pool, one moment, what to do next and when to look again.

Level-triggered, as Kubernetes' rolling update: everything is derived again from what is wanted and what is seen, so a
crash, a missed event and a normal step are the same path. Every state in between is a legal starting point.

    tentative       keep everybody, and start one canary of the new generation beside them
    not proven      keep the last good generation at full strength, try one canary of the new one beside it
    proven          start all new ones that the ceiling and memory have room for, drain old ones as long as enough
                    ready ones remain
    held            paused, or failed with on_failure = "hold": keep what runs alive, move nothing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from trapd.model import Ailment, Instance, InstanceId, InstanceState
from trapd.rollout import backoff, halves, worker_orders
from trapd.rollout.actions import Finish, Plan, PutTogether, Renew, Verdict
from trapd.rollout.blame import Blame, blame, failed_canary, speaks_of_environment, witness_failure
from trapd.rollout.draft import Draft
from trapd.rollout.gates import before_canary
from trapd.rollout.instances import Desire, restart_at
from trapd.rollout.relief import relief
from trapd.rollout.trial import delay, witness
from trapd.rollout.verdict import report_deadline, verdict
from trapd.rollout.world import World, none_wanted, of_strength, ready, trusted
from trapd.sizes import counted


def plan(world: World, now: float) -> Plan:
    """The next actions, each with its reason. A verdict stands alone: what follows from it is the next pass's."""
    if world.going_down:
        return Plan(waiting="the machine to go down; each worker drains by itself")
    planned = _next_step(world, now)
    if any(isinstance(action, Verdict) for action in planned.actions):
        return planned
    turn = halves.due(world, now) or _renewal(world)
    if isinstance(turn, PutTogether):  # what a half would do next is not wanted any more
        return Plan((turn,))
    return planned if turn is None else replace(planned, actions=(*planned.actions, turn))


def _renewal(world: World) -> Renew | None:
    latest, wanted = world.state.rollout, world.state.wanted
    moving = world.stopping or (latest is not None and not latest.state.over)
    return None if not world.other_settings or moving or wanted is None else Renew(wanted, world.other_settings)


def _next_step(world: World, now: float) -> Plan:
    draft = Draft(world, now)
    if world.wanted_workers == 0:
        return _empty(draft)
    if world.state.wanted is None:
        return Plan(waiting="the code on disk to settle")
    decided = verdict(world, now)
    if decided is not None:
        return Plan((decided,), wake_at=now)
    for instance in world.leaving():
        order = world.drained.get(instance.id.name)
        draft.want(Desire.DRAIN, instance, "" if order is None else worker_orders.because("drained", order))
    if world.held or world.lost:
        _hold(draft)
    elif world.tentative:
        _await_quiet(draft, world.state.wanted, world.fallback)
    elif world.proven or world.fallback is None:
        _roll(draft, world.state.wanted)
    else:
        _try_out(draft, world.state.wanted, world.fallback)
    draft.judge()
    draft.advance()
    return draft.done()


def _empty(draft: Draft) -> Plan:
    """No workers are wanted: the pool drains."""
    world = draft.world
    why = none_wanted(world)
    if world.eager and world.rollout is not None and not world.tentative:
        text = "every task runs in its submitter's process: no workers needed"
        return Plan((Finish(world.rollout.generation, text),), wake_at=draft.now)
    for instance in world.instances:
        draft.want(Desire.DRAIN, instance, why)
    waits = world.held or world.stopping or world.tentative
    if world.rollout is not None and not waits and not world.instances:
        draft.actions.append(Finish(world.rollout.generation, "no workers are wanted"))
        draft.wakes.append(draft.now)
    return draft.done()


def _await_quiet(draft: Draft, target: int, fallback: int | None) -> None:
    """The disk may change once more: nobody is told to go, and a canary that fails is neither blamed nor tried again.

    Without a surge the canary could only have the place of an old worker, so there is none yet.
    """
    world = draft.world
    others = world.staying(target=False)
    for instance in others:
        draft.want(Desire.RUN, instance, _again(instance))
    if fallback is not None:
        draft.start(fallback, draft.wanted - len(others), "keeps the pool at strength")
    if before_canary(draft.gate):
        _withdraw(draft, world.staying(target=True))
    elif draft.budget.surge and not world.staying(target=True):
        draft.start(target, 1, f"canary of generation {target}, tentatively", "the canary")
    draft.waiting.append("the quiet period to end")


def _roll(draft: Draft, target: int) -> None:
    """Towards the wanted generation: more of it within the ceiling, fewer others above the floor."""
    world = draft.world
    mine, others = world.staying(target=True), world.staying(target=False)
    beside = _keep_witness(draft)
    relieved = _relieve(draft)
    ranked = sorted((i for i in mine if i.id not in relieved), key=draft.worth_keeping)
    kept, spare = ranked[: draft.wanted], [*ranked[draft.wanted :], *(i for i in mine if i.id in relieved)]
    for instance in kept:
        draft.want(Desire.RUN, instance, _again(instance))
    draft.serving += len(world.taking_over(draft.now)) + len(ready(others))
    why = f"{counted(draft.wanted, 'worker is', 'workers are')} wanted on generation {target}"
    for id, wrong in relieved.items():
        why = f"{id} {wrong}"
    draft.start(target, draft.wanted - len(mine) + len(relieved), why)
    enough = f"{counted(draft.wanted, 'worker is', 'workers are')} enough"
    draft.drain_spare(spare, lambda i: relieved.get(i.id, enough))
    others = [i for i in others if i is not beside]
    draft.drain_spare(others, lambda i: f"generation {target} takes over from {i.id.generation}")


def _keep_witness(draft: Draft) -> Instance | None:
    """While a retrial is open, a worker of the good generation stays or starts beside the new ones."""
    world = draft.world
    if not draft.retried or world.fallback is None:
        return None
    if (beside := witness(world)) is not None:
        draft.want(Desire.RUN, beside, _again(beside))
        return beside
    why = "takes tasks beside the new workers, so that both can be compared"
    draft.start(world.fallback, 1, why, "a worker to compare with")
    return None


def _relieve(draft: Draft) -> Mapping[InstanceId, str]:
    """Who is to be replaced, and why; what is not replaced yet is waited for."""
    found = relief(draft.world, draft.now)
    draft.actions += [found.round] if found.round is not None else []
    draft.wakes += [found.wake_at] if found.wake_at is not None else []
    draft.waiting += [found.waiting] if found.waiting else []
    idle = {i.id for i in draft.world.instances if i.ailment is Ailment.IDLE and i.id in found.due}
    if draft.budget.surge:
        draft.idle = frozenset(idle)
    else:  # none can come before they go, so they go as if they served: one after the other
        draft.serving += len(idle)
    return found.due


def _again(instance: Instance) -> str:
    said = instance.failure.summary if instance.failure else "it failed"
    return f"it ended ({said}); failed {counted(instance.failures, 'time')} in a row"


def _try_out(draft: Draft, target: int, fallback: int) -> None:
    """The last good generation serves at full strength; one canary of the new one has to prove itself beside it."""
    world = draft.world
    failed = failed_canary(world, draft.now)
    judged = None if failed is None else blame(world, failed)
    asking = judged is Blame.UNKNOWN
    base = [i for i in world.staying(target=False) if of_strength(world, i)]
    for instance in world.staying(target=False):
        if instance not in base:
            draft.want(Desire.DRAIN, instance, f"generation {instance.id.generation} was superseded")
    # without a surge the canary can only have the place of a good one; a question to the good one needs a place as well
    full = draft.wanted if draft.budget.surge or before_canary(draft.gate) else draft.wanted - 1
    wanted_base = max(full + (1 if asking else 0), 1 if draft.retried else 0)
    evidence = {i.id for i in base if failed is not None and speaks_of_environment(world, failed, i)}
    # of those that serve, the good generation's first: what was superseded never proved itself, busy or not
    kept = sorted(base, key=lambda i: (not trusted(world, i), *draft.worth_keeping(i)))[:wanted_base]
    if asking and all(i.state is InstanceState.READY for i in kept):
        kept = kept[:full]  # they started long ago: only a fresh start answers
    doubtful = fallback not in world.state.good  # and fails itself: it must not lose its pauses by being forgotten
    if len(base) <= wanted_base or doubtful:
        evidence = set()  # everybody is needed
    for instance in kept:
        if instance.id not in evidence:
            draft.want(Desire.RUN, instance, _again(instance))
    why = "does the last good generation still start?" if asking else "keeps the pool at strength"
    draft.start(fallback, wanted_base - len(base), why)
    spare = [i for i in base if i not in kept and i.id not in evidence]
    spare = [i for i in spare if not (doubtful and i.state is InstanceState.FAILED and i.id.generation == fallback)]
    mine = world.staying(target=True)
    trial = failed or min(mine, key=draft.worth_keeping, default=None)
    draft.serving = len(ready(base))
    draft.drain_spare(spare, lambda _: "makes room for the canary")
    draft.serving += len(ready(mine))
    draft.drain_spare([i for i in mine if i is not trial], lambda _: "one is enough to try the generation")
    if failed is None or before_canary(draft.gate):
        _canary(draft, target, trial)
    elif judged is Blame.DOUBT:
        draft.want(Desire.RUN, failed, f"generation {fallback} starts now: once more, to be sure")
    else:
        _retry_after_outage(draft, failed, [i for i in base if i.id in evidence])


def _withdraw(draft: Draft, workers: Sequence[Instance]) -> None:
    for instance in workers:
        draft.want(Desire.DRAIN, instance, f"generation {instance.id.generation} has to wait before it serves")


def _canary(draft: Draft, target: int, trial: Instance | None) -> None:
    if before_canary(draft.gate):
        _withdraw(draft, [trial] if trial is not None else [])
    elif trial is None and draft.gate is None:
        draft.start(target, 1, f"canary of generation {target}", "the canary")
    if trial is None or before_canary(draft.gate):
        return
    draft.want(Desire.RUN, trial, _again(trial))
    if draft.healthy(trial) and draft.gate is None:
        draft.wakes.append(report_deadline(draft.world, trial))
        awaited = delay(draft.world, trial, draft.now)
        draft.waiting += [f"{trial.id} to report which code it loaded"] if not awaited else [awaited]


def _retry_after_outage(draft: Draft, failed: Instance, evidence: Sequence[Instance]) -> None:
    """The good generation does not start either, so the canary is tried again, with backoff, without end."""
    witness = witness_failure(draft.world, failed)
    if witness is None:
        return
    at = max(restart_at(failed), witness.at + backoff.delay(failed.failures, failed.id.name))
    too = "failed as well" if witness.was_ready else "does not start either"
    both = f"generation {draft.world.fallback} {too} ({witness.summary})"
    draft.waiting.append(f"the environment to recover: {both}")
    if at > draft.now:
        draft.wakes.append(at)
        return
    for instance in evidence:
        draft.want(Desire.DRAIN, instance, "its failure has been taken into account")
    draft.want(Desire.RUN, failed, "the good generation failed as well, so its own code is not to blame yet")


def _hold(draft: Draft) -> None:
    """Nothing moves, but what runs is kept running and the pool is kept at strength."""
    world = draft.world
    everyone = [*world.staying(target=True), *world.staying(target=False)]
    for instance in everyone:
        draft.want(Desire.RUN, instance, _again(instance))
    own = world.fallback is None or (world.proven and not world.lost)
    steady = world.state.wanted if own else world.fallback
    if steady is not None:
        of_use = [i for i in everyone if i.state is not InstanceState.FAILED or i.id.generation in world.usable]
        draft.start(steady, draft.wanted - len(of_use), "keeps the pool at strength")
    if world.lost:
        return draft.waiting.append(f"the snapshot of generation {world.state.wanted}, which is lost")
    draft.waiting.append(
        "a person: the pool is paused" if world.state.paused else "a person: the rollout failed and is held"
    )
    return None
