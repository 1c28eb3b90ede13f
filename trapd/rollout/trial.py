"""New code on trial: whose accounts are asked, which tasks are suspected, and when that is decided. ADR 33.

The accounts of the workers are sums since each was started, so each look derives everything anew from them. Only what
would be lost with a worker or with trapd is remembered in the rollout: the old code's figures, and the retrials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from trapd.model import Ailment, Instance, InstanceId, InstanceState, Retrial, Rollout, RolloutState
from trapd.rollout.judge import (
    KNOWN,
    Evidence,
    Outcomes,
    Word,
    compare,
    last_word,
    latest,
    needed_alone,
    of_last,
    outcomes,
    suspicious,
)
from trapd.rollout.world import World
from trapd.sizes import counted
from trapd.work import TaskCounts, Work

# s between two looks: at a canary or in a retrial; at what is good and not suspected; where few tasks come
LOOK, LOOK_SELDOM, LOOK_RARELY = 1.0, 5.0, 30.0
RETRIAL_TIME = 300.0  # s; at most half of progress_deadline
MOST_PROBATIONS = 10  # one after the other, until canary_tasks tasks have ended
ALONE_TIME, WITNESS_TIME = 120.0, 60.0  # s that new workers take no tasks: for the last word; until an old one starts
FEW = 10  # the old code's share of the tasks that end a retrial: a tenth of the new code's
MOST_RETRIALS = 8  # open at a time; a worker's question has room for so many names
MOST_WORDS = 2  # of the old code on one name; its failures alone may by chance be as many as both codes' were together
_NAMES = 200  # task names whose figures are remembered
_MUTE = frozenset({Ailment.STALLED, Ailment.SILENT})
_ALIVE = frozenset({InstanceState.READY, InstanceState.DRAINING})


@dataclass(frozen=True, slots=True)
class Finding:
    """What the accounts say now. ``ended``: tasks of the new code. ``suspects``, ``cleared``: task names, and why."""

    ended: int = 0
    evidence: Evidence | None = None
    suspects: tuple[tuple[str, str], ...] = ()
    cleared: tuple[tuple[str, str], ...] = ()
    open: tuple[str, ...] = ()  # how far each open retrial is
    proved: tuple[Evidence, ...] = ()  # comparisons that speak against the new code: the old code has the last word


NOTHING = Finding()


def on_trial(world: World, now: float) -> Rollout | None:
    """Return the rollout whose code is judged by its tasks now: while it is under way, and in its probation."""
    latest, policy = world.state.rollout, world.spec.policy
    if latest is None or latest.generation != world.state.wanted or world.fallback is None or not _judged(world):
        return None
    if world.tentative or world.held or world.wanted_workers == 0:
        return None
    if retrials(latest) and (not latest.state.over or latest.state is RolloutState.COMPLETE):
        return latest
    if not latest.state.over:  # drains may take hours
        return latest if not world.proven or now < latest.progressed_at + policy.probation else None
    return latest if on_probation(world, now) else None


def _judged(world: World) -> bool:
    return world.spec.policy.judge and not world.spec.singleton


def on_probation(world: World, now: float) -> bool:
    """Was the rollout of the wanted generation complete a short time ago? Or longer ago, if too few of its tasks have
    ended to say anything."""
    latest = world.state.rollout
    if latest is None or latest.state is not RolloutState.COMPLETE or latest.finished_at is None:
        return False
    longest = world.spec.policy.probation * (MOST_PROBATIONS if _judged(world) else 1)
    return latest.generation == world.state.wanted and 0 <= now - latest.finished_at < longest


def probations(world: World, found: Finding, now: float) -> int | None:
    """Return how many probations there are to be now, one of which is just over; 0 if that was enough; None: as before.

    One in which too few tasks have ended is followed by another. So tasks that come late are judged for some time too:
    not only until they are enough.
    """
    latest, policy = world.state.rollout, world.spec.policy
    if latest is None or latest.finished_at is None or not _judged(world) or not on_probation(world, now):
        return None
    since = now - latest.finished_at
    if since < latest.probations * policy.probation or found.suspects or found.open:
        return None
    return 0 if found.ended >= policy.canary_tasks else int(since / policy.probation) + 1


def retrials(rollout: Rollout) -> list[Retrial]:
    """Those that are not over."""
    return [retrial for retrial in rollout.retrials if not retrial.over]


def retried(world: World) -> bool:
    """Is a retrial open, so that a worker of the good generation has to be beside the new ones?"""
    latest = world.state.rollout
    there = latest is not None and latest.generation == world.state.wanted and not world.held
    return latest is not None and there and world.fallback is not None and bool(retrials(latest))


def witness(world: World) -> Instance | None:
    """The worker of the good generation that stays beside the new ones as long as a retrial is open."""
    old = [i for i in world.staying(target=False) if i.id.generation == world.fallback]
    ready_first = sorted(old, key=lambda i: (i.state is not InstanceState.READY, i.ready_at or i.since, i.id))
    return ready_first[0] if ready_first else None


def questions(world: World, now: float) -> Mapping[InstanceId, Mapping[str, str]]:
    """Whom to ask now, each with the marks of the open retrials (A6)."""
    rollout = on_trial(world, now)
    if rollout is None:
        return {}
    new, old = _workers(world, world.state.wanted), _workers(world, world.fallback)
    if not any(i.state is InstanceState.READY for i in new):
        return {i.id: {} for i in old} if rollout.before is None else {}
    marks = _marks(world, rollout)
    return {i.id: marks for i in (*new, *old)}


def _marks(world: World, rollout: Rollout) -> Mapping[str, str]:
    """None without a witness: what new code does alone proves nothing. With another one all begin anew, and once more
    when the old code takes the tasks alone."""
    beside = witness(world)
    if beside is None or beside.state is not InstanceState.READY:
        return {}
    return {
        retrial.task: f"{rollout.id}.{retrial.number}.{beside.pid}{'' if retrial.alone_since is None else '.alone'}"
        for retrial in retrials(rollout)
    }


def abstaining(world: World, now: float) -> bool:
    """Are the new workers to take no tasks now (A13)? While the old code takes suspected tasks alone; and in a pool
    that has no room for both, until an old worker has started, since all that new code does alone proves nothing."""
    rollout = on_trial(world, now)
    if rollout is None:
        return False
    beside = witness(world)
    awaited = not world.proven and (beside is None or beside.state is not InstanceState.READY)
    return any(r.alone_since is not None or (awaited and 0 <= now - r.since < WITNESS_TIME) for r in retrials(rollout))


def _workers(world: World, generation: int | None) -> list[Instance]:
    mine = [i for i in world.instances if i.id.generation == generation and i.pid is not None]
    return [i for i in mine if i.state in _ALIVE and i.ailment not in _MUTE]


def figures(world: World, now: float) -> Mapping[str, tuple[int, int]] | None:
    """The old code's last tasks that ended, and that failed, by name; None if they are remembered, or not known."""
    rollout = on_trial(world, now)
    if rollout is None or rollout.before is not None:
        return None
    old = _workers(world, world.fallback)
    if old and not any(i.id in world.works for i in old):
        return None
    sums = {name: _of_name(world, world.fallback, name) for name in _names(world, world.fallback)}
    most = sorted(sums, key=lambda name: sums[name].ended, reverse=True)[:_NAMES]
    last = {name: _last(world, name) for name in most if sums[name].ended}
    return {name: (side.ended, side.failures) for name, side in last.items()}


def look_again(world: World, now: float) -> float | None:
    """When the accounts are to be asked again; None if nothing is on trial."""
    rollout = on_trial(world, now)
    if rollout is None:
        return None
    if not any(i.state is InstanceState.READY for i in _workers(world, world.state.wanted)):
        return None
    if not world.proven or retrials(rollout):
        return now + LOOK
    return now + (LOOK_SELDOM if rollout.probations == 1 else LOOK_RARELY)


def find(world: World, now: float) -> Finding:
    """What the accounts say of the new code."""
    rollout = on_trial(world, now)
    if rollout is None:
        return NOTHING
    new = {name: _of_name(world, world.state.wanted, name) for name in _names(world, None)}
    weighed = [_weigh(world, rollout, retrial, now) for retrial in retrials(rollout)]
    for one in weighed:
        if one.convicts:
            return Finding(evidence=one.evidence)
    suspects = [
        (name, why) for name, side in new.items() if _may_be_tried(rollout, name) and (why := _worse(world, name, side))
    ]
    going = tuple(f"{one.task}: {one.told}" for one in weighed if one.over is None)
    return Finding(
        sum(side.ended for side in new.values()),
        None,
        tuple(suspects[: MOST_RETRIALS - len(going)]),
        tuple((one.task, f"{one.over}{one.told}") for one in weighed if one.over is not None),
        going,
        tuple(one.evidence for one in weighed if one.evidence is not None),
    )


@dataclass(frozen=True, slots=True)
class _Weighed:
    """How far one retrial is. ``told``: its figures; ``over``: why it is over without a result, to be put before them.

    ``evidence``: what the comparison has just found, or with ``convicts`` what the old code has confirmed.
    """

    task: str
    told: str
    over: str | None = None
    evidence: Evidence | None = None
    convicts: bool = False


def _weigh(world: World, rollout: Rollout, retrial: Retrial, now: float) -> _Weighed:
    mine, others = (_of_retrial(world, generation, retrial.task) for generation in (world.state.wanted, world.fallback))
    if retrial.alone_since is not None:
        tried = len(_tries(rollout, retrial.task))
        return _last_word(world, retrial, others, now, tried)
    told = f"{_figures(mine)} failed, and {_figures(others)} of the old code's meanwhile"
    if evidence := compare(retrial.task, mine, others, retrial.number):
        return _Weighed(retrial.task, told, evidence=evidence)
    if min(mine.ended, FEW * others.ended) >= world.spec.policy.canary_tasks:
        return _Weighed(retrial.task, told, over="")
    if not 0 <= now - retrial.since < min(RETRIAL_TIME, world.spec.policy.progress_deadline / 2):
        return _Weighed(retrial.task, told, over="too few tasks came to decide: ")
    return _Weighed(retrial.task, told)


def _may_be_tried(rollout: Rollout, name: str) -> bool:
    """Once; and again after the old code's word has cleared it, which is wrong by chance now and then."""
    before = _tries(rollout, name)
    return len(before) < MOST_WORDS and all(one.over and one.alone_since is not None for one in before)


def _tries(rollout: Rollout, name: str) -> list[Retrial]:
    return [retrial for retrial in rollout.retrials if retrial.task == name]


def _last_word(world: World, retrial: Retrial, alone: Outcomes, now: float, tried: int) -> _Weighed:
    """What the old code makes of these tasks alone, as soon as those in hand have ended."""
    evidence, in_hand = _whole(world, retrial)
    told = f"{_figures(alone)} failed with the old code alone"
    waits = in_hand or alone.ended < needed_alone(evidence, tried)
    if waits and 0 <= now - (retrial.alone_since or 0.0) < ALONE_TIME:
        return _Weighed(retrial.task, told)
    word = last_word(evidence, alone, retrial.number)
    if word is Word.CODE:
        return _Weighed(retrial.task, told, evidence=evidence, convicts=True)
    return _Weighed(retrial.task, told, over=f"{word.value}: ")


def _whole(world: World, retrial: Retrial) -> tuple[Evidence, bool]:
    """The comparison with the tasks that were in hand at its end, and are some of them so still? What was written down,
    if a worker that counted for it is gone, or counts as an earlier trapd's."""
    found = _recorded(retrial)
    new, old = (
        _counts(world, generation, retrial.task, lambda work: work.compared)
        for generation in (world.state.wanted, world.fallback)
    )
    canary, others = outcomes(new), outcomes(old)
    if canary.ended < found.canary.ended or others.ended < found.others.ended:
        return found, False
    return Evidence(retrial.task, canary, others), any(counts.in_hand > 0 for counts in (*new, *old))


def as_record(evidence: Evidence) -> Mapping[str, int]:
    """Its figures, to be remembered in the retrial."""
    canary, others = evidence.canary, evidence.others
    return {
        "canary_failed": canary.failures,
        "canary_ended": canary.ended,
        "others_failed": others.failures,
        "others_ended": others.ended,
    }


def _recorded(retrial: Retrial) -> Evidence:
    canary, others = (
        _outcomes(retrial.compared[f"{side}_ended"], retrial.compared[f"{side}_failed"], retrial.error)
        for side in ("canary", "others")
    )
    return Evidence(retrial.task, canary, others)


def _outcomes(ended: int, failed: int, error: str = "") -> Outcomes:
    return Outcomes(ended - failed, {error: failed} if failed else {})


def _worse(world: World, name: str, new: Outcomes) -> str:
    """Why the new code's tasks of this name are suspicious; empty if they are not. Those of a name that the old code
    does not have are not: a worker of it would only set their messages aside."""
    if not new.failures:
        return ""
    before = _before(world, name)
    if not suspicious(new, before) or not (before.ended or name in world.old_tasks):
        return ""
    return f"{_figures(new)} failed, {new.error}; {_figures(before)} before"


def _before(world: World, name: str) -> Outcomes:
    """The old code's figures: of the last tasks that its workers account for now, if these are enough; else as they
    were before the rollout, if these are more."""
    rollout, now = world.state.rollout, _last(world, name)
    known = (rollout.before or {}).get(name, (0, 0)) if rollout is not None else (0, 0)
    before = of_last(*known, world.spec.policy.canary_tasks)
    return now if now.ended >= min(KNOWN, before.ended) else before


def _last(world: World, name: str) -> Outcomes:
    return latest(_counts(world, world.fallback, name, lambda work: work.counts), world.spec.policy.canary_tasks)


def _names(world: World, generation: int | None) -> Iterable[str]:
    """Task names in the accounts of a generation, or of all."""
    works = [work for id, work in world.works.items() if generation in (None, id.generation)]
    return sorted({name for work in works for name in work.counts})


def _of_name(world: World, generation: int | None, name: str) -> Outcomes:
    return outcomes(_counts(world, generation, name, lambda work: work.counts))


def _of_retrial(world: World, generation: int | None, name: str) -> Outcomes:
    return outcomes(_counts(world, generation, name, lambda work: work.retrials))


def _counts(
    world: World, generation: int | None, name: str, of: Callable[[Work], Mapping[str, TaskCounts]]
) -> list[TaskCounts]:
    """Of each worker of that generation which accounts for this task name."""
    works = [of(work) for id, work in world.works.items() if id.generation == generation]
    return [counts[name] for counts in works if name in counts]


def _figures(side: Outcomes) -> str:
    return f"{side.failures} of {side.ended}"


def delay(world: World, canary: Instance, now: float) -> str:
    """Why a canary that stayed ready is not promoted yet, as what is awaited; empty if nothing is."""
    if on_trial(world, now) is None:
        return ""
    found, policy = find(world, now), world.spec.policy
    if found.suspects or found.open:
        return compared(found)
    waiting = f"{canary.id} to end {counted(policy.canary_tasks, 'task')}, or for canary_time to be over"
    return waiting if observed_until(world, canary) > now and found.ended < policy.canary_tasks else ""


def compared(found: Finding) -> str:
    """What is waited for as long as a retrial is open; empty if none is."""
    going = "; ".join((*found.open, *(name for name, _ in found.suspects)))
    waiting = f"a comparison of tasks that began to fail ({going})"
    return waiting if going else ""


def observed_until(world: World, canary: Instance) -> float:
    """When the time is over in which a canary's tasks are observed before it is promoted."""
    ready_at = canary.ready_at if canary.ready_at is not None else canary.since
    return ready_at + (world.spec.policy.canary_time or 0.0)
