"""How triggers and verdicts change what is wanted: from one PoolState to the next, nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import replace

from trapd.content import CELERYCONFIG, normalise
from trapd.model import Disk, Generation, PoolState, Refusal, Retrial, Rollout, RolloutState, Scope
from trapd.rollout import celeryconfig, changes, pin
from trapd.rollout.actions import Advance, Clear, Doubt, Fail, Finish, Promote, Reject, Suspect, Verdict, Verify
from trapd.rollout.refusals import candidate, covers, forgive, refuse
from trapd.spec import OnFailure, PoolSpec

GOOD_KEPT = 5  # generations remembered as good: as many as are kept on disk


def launch_digest(spec: PoolSpec, application: str) -> str:
    """A short digest of the settings that a running worker has fixed in it: the pool's, and which application it is."""
    return hashlib.sha256(json.dumps([application, spec.launch()], sort_keys=True).encode()).hexdigest()[:16]


def news(old: Generation | None, disk: Disk) -> str:
    """What was installed, for people: which distribution changed, from which version to which."""
    versions, installed = disk.versions, sorted(disk.versions.items())
    if old is not None and old.distributions and disk.distributions and (found := changes.since(old, disk)):
        return changes.sentence(found, {normalise(name) for name in versions})
    if old is None:
        return "first start: " + ", ".join(f"{name} {version}" for name, version in installed)
    before = {name: old.versions.get(name, "absent") for name in versions}
    others = [f"{name} {before[name]} -> {version}" for name, version in installed if before[name] != version]
    return ", ".join(others) or "the installed code, the celeryconfig or the interpreter changed"


def needed(state: PoolState) -> set[int]:
    """The generations to which the pool may go without anybody making them anew."""
    before = state.rollout.previous if state.rollout is not None and not state.good else None
    halves = () if state.apart is None else (state.apart.whole, state.apart.half)
    return {*state.good, *halves, *(n for n in (state.wanted, state.undone, before) if n is not None)}


def begin(
    state: PoolState,
    generation: Generation,
    rollout: int,
    *,
    reason: str,
    actor: str,
    now: float,
    wall: float,
    known: Mapping[int, Generation] | None = None,
) -> tuple[PoolState, ...]:
    """Want another generation, which may be an old one. ``known``: where the versions of the one before are found.

    Returns the states to save in order: the old rollout's end, then the new one."""
    ended = supersede(state, f"generation {generation.number} is wanted instead", wall)
    previous = _serving(state)
    before = (known or {}).get(previous) if previous is not None else None
    fresh = Rollout(
        id=rollout,
        pool=state.pool,
        generation=generation.number,
        previous=previous,
        state=RolloutState.PENDING,
        reason=reason,
        actor=actor,
        started_wall=wall,
        progressed_at=now,
        began_at=now,
        versions=dict(generation.versions),
        previous_versions=dict(before.versions) if before else {},
    )
    wanted = replace(state, wanted=generation.number, rollout=fresh, apart=None)
    return (*ended, wanted)


def is_tentative(state: PoolState) -> bool:
    return state.rollout is not None and state.rollout.state is RolloutState.TENTATIVE


def tentatively(state: PoolState) -> PoolState:
    """The rollout that has just begun is of a disk that has not settled yet."""
    return state if state.rollout is None else advance(state, Advance(RolloutState.TENTATIVE, ""))


def confirm(state: PoolState, now: float) -> PoolState:
    """The disk has settled on what is rolled out tentatively: from now on it is a rollout as any other."""
    if state.rollout is None:
        return state
    return replace(state, rollout=replace(state.rollout, state=RolloutState.PREFLIGHT, progressed_at=now))


def _serving(state: PoolState) -> int | None:
    """What a rollout moves the pool away from. Where nothing ever was good, not what has not even proved itself."""
    latest = state.rollout
    unproven = latest is not None and not latest.state.over and not state.good
    return latest.previous if latest is not None and unproven and latest.previous is not None else state.wanted


def supersede(state: PoolState, why: str, wall: float) -> tuple[PoolState, ...]:
    """End the rollout under way, if there is one."""
    if state.rollout is None or state.rollout.state.over:
        return ()
    return (replace(state, rollout=_end(state.rollout, RolloutState.SUPERSEDED, why, "", wall)),)


def go_back(state: PoolState, why: str, wall: float) -> PoolState:
    """Give up the rollout under way for the last good generation, whose workers still run: no new number is needed."""
    ended = supersede(state, why, wall)
    return replace(ended[-1] if ended else state, wanted=state.last_good)


def decide(
    state: PoolState,
    verdict: Verdict,
    generations: Mapping[int, Generation],
    on_failure: OnFailure,
    wall: float,
) -> PoolState:
    """The pool after a verdict."""
    match verdict:
        case Promote():
            good = (*(g for g in state.good if g != verdict.generation), verdict.generation)
            known = generations.get(verdict.generation)
            if known is not None:
                state = forgive(state, candidate(known, state.pool))
            return replace(state, good=good[-GOOD_KEPT:])
        case Finish():
            return _ended(state, RolloutState.COMPLETE, verdict, wall)
        case Reject():
            ended = _ended(state, RolloutState.REJECTED, verdict, wall)
            return _refuse(ended, verdict, generations, wall, back=True)
        case Doubt():
            return _reopened(replace(state, good=tuple(g for g in state.good if g != verdict.generation)), verdict)
        case Fail():
            back = on_failure is OnFailure.REVERT
            return _refuse(_ended(state, RolloutState.FAILED, verdict, wall), verdict, generations, wall, back=back)


def advance(state: PoolState, action: Advance) -> PoolState:
    return state if state.rollout is None else replace(state, rollout=replace(state.rollout, state=action.state))


def progressed(state: PoolState, now: float) -> PoolState:
    """The progress deadline runs from here."""
    return state if state.rollout is None else replace(state, rollout=replace(state.rollout, progressed_at=now))


def retimed(state: PoolState, before: PoolState, now: float, wall: float) -> PoolState:
    """With the beginning of its rollout as the present clock has it, so that after somebody set the clock (by 20 years,
    say) its duration holds. Not for a rollout that was over before: both its times are of the same clock."""
    rollout = state.rollout
    moved = before.rollout
    moving = rollout is not None and moved is not None and moved.id == rollout.id and not moved.state.over
    if rollout is None or rollout.began_at is None or not moving:
        return state
    started = wall - (now - rollout.began_at)
    return (
        state
        if abs(started - rollout.started_wall) < 1
        else replace(state, rollout=replace(rollout, started_wall=started))
    )


def after_boot(state: PoolState, now: float, wall: float) -> PoolState:
    """CLOCK_MONOTONIC begins anew at each boot: then the wall clock has to tell how long ago its rollout began. And
    nobody is connected yet, so nobody holds its pins."""
    rollout, state = state.rollout, pin.abandoned(state, now)
    if state.relieved_at is not None and state.relieved_at > now:
        state = replace(state, relieved_at=None, rounds=0)
    state = replace(state, recycled=tuple(order for order in state.recycled if order.at <= now))
    if rollout is None or rollout.began_at is None or rollout.began_at <= now:
        return state
    return replace(state, rollout=replace(rollout, began_at=now - (wall - rollout.started_wall), finished_at=None))


def pause(state: PoolState) -> PoolState:
    return replace(state, paused=True)


def resume(state: PoolState, now: float) -> PoolState:
    """Go on; the time spent paused does not count against the progress deadline."""
    return progressed(replace(state, paused=False), now)


def opened(state: PoolState, gate: str, now: float) -> PoolState:
    """The gate is open before which the rollout waited; that time does not count against its deadline."""
    if state.rollout is None:
        return state
    return progressed(replace(state, rollout=replace(state.rollout, opened=(*state.rollout.opened, gate))), now)


def finished(state: PoolState, now: float) -> PoolState:
    """The probation of what was rolled out begins."""
    return state if state.rollout is None else replace(state, rollout=replace(state.rollout, finished_at=now))


def with_probations(state: PoolState, number: int | None) -> PoolState:
    """Remember that its probation goes on, or with 0 that it is over."""
    if state.rollout is None or number is None:
        return state
    if number == 0:
        return replace(state, rollout=replace(state.rollout, finished_at=None))
    return replace(state, rollout=replace(state.rollout, probations=number))


def with_figures(state: PoolState, figures: Mapping[str, tuple[int, int]] | None) -> PoolState:
    """Remember what the old code's tasks were like."""
    if state.rollout is None or figures is None:
        return state
    return replace(state, rollout=replace(state.rollout, before=figures))


def suspected(state: PoolState, action: Suspect, now: float) -> PoolState:
    """A retrial begins."""
    if state.rollout is None:
        return state
    known = state.rollout.retrials
    retrials = (*known, Retrial(action.task, len(known) + 1, now, action.why))
    return replace(state, rollout=replace(state.rollout, retrials=retrials))


def _is_on(retrial: Retrial, action: Verify | Clear) -> bool:
    return retrial.task == action.task and not retrial.over


def verified(state: PoolState, action: Verify, now: float) -> PoolState:
    """From now on the old code takes these tasks alone."""
    if state.rollout is None:
        return state
    retrials = tuple(
        replace(r, compared=action.compared, error=action.error, alone_since=now) if _is_on(r, action) else r
        for r in state.rollout.retrials
    )
    return replace(state, rollout=replace(state.rollout, retrials=retrials))


def cleared(state: PoolState, action: Clear) -> PoolState:
    """A retrial is over."""
    if state.rollout is None:
        return state
    retrials = tuple(replace(r, over=True) if _is_on(r, action) else r for r in state.rollout.retrials)
    return replace(state, rollout=replace(state.rollout, retrials=retrials))


def scaled(state: PoolState, workers: int | None, actor: str, wall: float) -> PoolState:
    """So many workers from now on; None: as configured."""
    if workers is None:
        return replace(state, workers=None, scaled_by="", scaled_wall=None)
    return replace(state, workers=workers, scaled_by=actor, scaled_wall=wall)


def undo_target(
    state: PoolState,
    current: Generation,
    generations: Mapping[int, Generation],
    launch: str | None = None,
    *,
    settings: bool = False,
    startable: Set[int] | None = None,
) -> int | None:
    """What the last undo left, or else the newest good generation, if it is something else than ``current``.

    Other code, that is; with ``settings`` another celeryconfig will do. As it was, by default: then other settings make
    it something else. With ``launch``, as it would be if it had these. ``startable``: what a worker could start from.
    """
    left = [state.undone] if state.undone is not None else []
    for number in [*left, *reversed(state.good)]:
        known = generations.get(number)
        if known is None or (startable is not None and number not in startable):
            continue
        same = known.fingerprint == current.fingerprint if settings else celeryconfig.same_code(known, current)
        if not same:
            return number
        again = candidate(known, state.pool)
        again = again if launch is None else replace(again, fingerprint=current.fingerprint, launch=launch)
        if (launch is None or number in left) and again != candidate(current, state.pool):
            return number
    return None


def backwards(current: Generation, target: Generation) -> str:
    """From which versions to which: ``trap 2.0 -> 1.0``, libraries that count included; where all are the same, from
    which generation to which."""
    if found := [change for change in changes.apart(current, target) if change.name != CELERYCONFIG]:
        return changes.sentence(found, {normalise(name) for name in {*current.versions, *target.versions}})
    names = sorted({*current.versions, *target.versions})
    pairs = [(name, current.versions.get(name, "absent"), target.versions.get(name, "absent")) for name in names]
    moved = ", ".join(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)
    return moved or f"generation {current.number} -> {target.number}"


def label(versions: Mapping[str, str], number: int) -> str:
    """A generation for people: ``trap 1.4.0``."""
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or f"generation {number}"


def undone(
    state: PoolState,
    current: Generation,
    target: Generation,
    generations: Mapping[int, Generation],
    why: str,
    wall: float,
) -> PoolState:
    """The pool, about to go back from ``current`` to ``target``, or to a copy of it.

    What is undone (the code, or only its settings if both have the same) is not rolled out again by itself, and nothing
    falls back on it, nor on the same under another number, unless the target has yet to prove itself.
    """
    pool, mine = state.pool, candidate(current, state.pool)
    if current.fingerprint != target.fingerprint:
        refusal = Refusal(Scope.CODE, mine.fingerprint, "", why, wall)
    else:
        refusal = Refusal(Scope.SETTINGS, mine.fingerprint, mine.launch, why, wall)
    alike = {number for number, known in generations.items() if covers(refusal, candidate(known, pool))}
    good = tuple(g for g in state.good if g not in alike) if target.number in state.good else state.good
    forgiven = forgive(state, candidate(target, pool))
    return refuse(replace(forgiven, good=good, undone=current.number), refusal)


def unless_as(state: PoolState, generation: Generation, fingerprint: str, why: str, wall: float) -> PoolState:
    """The pool that does not give this generation the celeryconfig by which it would have this fingerprint."""
    if fingerprint == generation.fingerprint:
        return state
    return refuse(state, Refusal(Scope.CODE, fingerprint, "", why, wall))


def needs_no_canary(state: PoolState, current: Generation, target: Generation, fresh: Generation) -> bool:
    """Whether a copy of ``target`` is as good as that was: nothing in it is unproven in this pool."""
    proven = target.number in state.good and target.launch.get(state.pool) == fresh.launch.get(state.pool)
    return proven and (target.fingerprint == fresh.fingerprint or current.number in state.good)


def with_good(state: PoolState, number: int) -> PoolState:
    """The pool with a generation that needs no canary."""
    return replace(state, good=(*(g for g in state.good if g != number), number)[-GOOD_KEPT:])


def _end(rollout: Rollout, to: RolloutState, why: str, detail: str, wall: float) -> Rollout:
    return replace(rollout, state=to, reason=why, detail=detail, ended_wall=wall)


def _ended(state: PoolState, to: RolloutState, verdict: Verdict, wall: float) -> PoolState:
    if state.rollout is None or state.rollout.generation != verdict.generation:
        return state
    return replace(state, rollout=_end(state.rollout, to, verdict.why, verdict.detail, wall))


def _reopened(state: PoolState, verdict: Doubt) -> PoolState:
    """Its rollout goes on: nothing was complete."""
    if state.rollout is None or state.rollout.generation != verdict.generation:
        return state
    reason, again = verdict.why, RolloutState.PREFLIGHT
    return replace(
        state, rollout=replace(state.rollout, state=again, reason=reason, detail="", ended_wall=None, finished_at=None)
    )


def _refuse(
    state: PoolState, verdict: Verdict, generations: Mapping[int, Generation], wall: float, *, back: bool
) -> PoolState:
    """The generation is not tried again by itself, nor good any more, if another is: to have nothing to fall back on is
    worse. With ``back``, the last good one is wanted again."""
    others = tuple(g for g in state.good if g != verdict.generation)
    good = others or state.good
    before = state.rollout.previous if state.rollout is not None else None
    held = pin.allowed(state, generations) if state.pins else None
    serves = next((number for number in reversed((before, *good)) if held is None or number in held), None)
    known = generations.get(verdict.generation)
    if known is not None:
        # what failed is the code as this application; where that is good under other settings, it is these
        failed = candidate(known, state.pool)
        proven = [candidate(generations[g], state.pool) for g in others if g in generations]
        settings = any((p.fingerprint, p.application) == (failed.fingerprint, failed.application) for p in proven)
        scope, subject = (Scope.SETTINGS, failed.launch) if settings else (Scope.APPLICATION, failed.application)
        why = f"{_beside(known, generations.get(serves or 0))}{verdict.why}"
        state = refuse(state, Refusal(scope, failed.fingerprint, subject, why, wall))
    state = replace(state, good=good)
    return replace(state, wanted=serves) if back and serves is not None else state


def _beside(failed: Generation, serves: Generation | None) -> str:
    """What else changed with the watched distributions, whose versions are told anyhow: a library that is to blame has
    its name only in a traceback otherwise."""
    if serves is None or not (failed.distributions and serves.distributions):
        return ""
    names = {*serves.required, *failed.required, *serves.loaded} - {normalise(name) for name in failed.versions}
    found = changes.changes(serves.distributions, failed.distributions, names)
    return f"with {changes.sentence(found)}, " if found else ""
