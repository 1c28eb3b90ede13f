"""What an order of a person means for one pool, with its reason: recycle, undo and retry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trapd.model import DiskState, Generation, Instance, InstanceState, RolloutState
from trapd.rollout import celeryconfig, pin
from trapd.rollout.intent import STOPPING, Cause, CopyOf, Forgive, FromDisk, Nothing, ReturnTo, Situation, unsettled
from trapd.rollout.refusals import refusal
from trapd.rollout.want import backwards, label, launch_digest, undo_target

_NO_FLAWS: Mapping[int, str] = {}


def to_recycle(situation: Situation, reason: str) -> Nothing | CopyOf | FromDisk:
    """The code that is wanted. If that is installed, with all that is installed beside it by now: an environment holds
    also what counts for no generation. Code that runs hold, and code beside which something changes, is copied."""
    if situation.stopping:
        return STOPPING
    wanted = situation.wanted
    if wanted is None:
        return unsettled(situation)
    if situation.state.put_aside is not None:
        return Nothing(Cause.APART, f"generation {situation.state.put_aside} is being told from its celeryconfig")
    there = situation.is_installed(wanted.number) and not situation.state.pins
    if there and (situation.disk.state is DiskState.SETTLED or situation.at_rest):
        return FromDisk(reason)
    return CopyOf(wanted.number, reason)


def to_undo(
    situation: Situation,
    to: int | None = None,
    *,
    settings: bool = False,
    flaws: Mapping[int, str] = _NO_FLAWS,
    there: Iterable[Instance] = (),
) -> Nothing | CopyOf | ReturnTo:
    """Back to the good code before, or to the generation ``to``; in the middle of a rollout to the very generation
    whose workers (``there``) still run.

    The celeryconfig in force stays in force, unless the one of the target is wanted too (``settings``). ``flaws``: why
    no worker could start from a generation any more.
    """
    state = situation.state
    current = situation.generations.get(situation.on_trial or 0)
    if situation.stopping:
        return STOPPING
    if current is None:
        return unsettled(situation)
    if state.paused:
        return Nothing(Cause.PAUSED, "it is paused; resume it first")
    # what is rolled out anew gets the pool's present settings, whatever it had then
    launch = None if situation.under_way else launch_digest(situation.spec, current.application)
    target = undo_target(
        state, current, situation.generations, launch, settings=settings, startable=situation.usable - flaws.keys()
    )
    if to is None and (nothing := _never_served(situation, current, target)):
        return nothing
    if to is not None:
        if nothing := _no_target(situation, current, to, flaws, settings):
            return nothing
    elif target is None:
        return _no_other(situation, current, flaws, settings)
    goal = situation.generations[to or target or 0]
    if nothing := _pinned(situation, goal):
        return nothing
    reason = f"undo of generation {current.number}: {backwards(current, goal)}"
    if settings:
        return CopyOf(goal.number, reason)
    giver = _in_force(situation, current, there)
    copy, _ = celeryconfig.of_copy(goal.number, giver, situation.generations, situation.disk)
    if state.put_aside is not None and situation.wanted and situation.wanted.fingerprint == copy.fingerprint:
        return ReturnTo(situation.wanted.number, reason)  # that half is rolled out already
    kept = situation.under_way and goal.number in (target, state.last_good) and copy is goal
    return ReturnTo(goal.number, reason) if kept else CopyOf(goal.number, reason, giver)


def _pinned(situation: Situation, goal: Generation) -> Nothing | None:
    state = situation.state
    if not state.pins or goal.number in pin.allowed(state, situation.generations):
        return None
    override = f"trapctl rollout promote {situation.spec.name} ends that"
    return Nothing(Cause.PINNED, f"{pin.sentence(state)}; {override}")


def _in_force(situation: Situation, current: Generation, there: Iterable[Instance]) -> int | None:
    """The generation whose celeryconfig is in force. In the middle of a rollout that is the last good one's, as long as
    its workers serve; once they do not, it may be void: a password that was replaced, say."""
    if not situation.under_way:
        return current.number
    name, good = situation.spec.name, situation.state.last_good
    serves = any(i.id.pool == name and i.id.generation == good and i.state is InstanceState.READY for i in there)
    return good if good is None or serves else current.number


def _never_served(situation: Situation, current: Generation, target: int | None) -> Nothing | None:
    """After a rejection the pool is where an undo would lead; who goes on goes back one more."""
    latest = situation.state.rollout
    if latest is None or latest.generation == current.number or situation.is_installed(current.number):
        return None
    if latest.state not in (RolloutState.REJECTED, RolloutState.FAILED):
        return None
    word = "was rejected" if latest.state is RolloutState.REJECTED else "failed"
    failed = situation.generations.get(latest.generation)
    what = label(latest.versions, latest.generation) if failed is None else _beside(current, failed)
    serves = label(current.versions, current.number)
    why = f"{what} {word}, {serves} serves"
    known = situation.generations.get(target or 0)
    if known is None:
        return Nothing(Cause.REJECTED, f"{why}; no other good generation is kept")
    back = f"trapctl rollout undo {situation.spec.name} --to {known.number}"
    return Nothing(Cause.REJECTED, f"{why}; to go back to {_beside(current, known)}: {back}")


def _beside(current: Generation, other: Generation) -> str:
    """Another generation for people; where its versions are those of ``current``, by the libraries that differ."""
    if other.versions != current.versions:
        return label(other.versions, other.number)
    return f"{label(other.versions, other.number)} with {backwards(current, other)}"


def _no_target(
    situation: Situation, current: Generation, to: int, flaws: Mapping[int, str], settings: bool
) -> Nothing | None:
    goal = situation.generations.get(to)
    if goal is None:
        return Nothing(Cause.NO_OTHER, f"there is no generation {to}; see trapctl generations")
    if to in flaws or to not in situation.usable:
        return _flawed(to, flaws)
    if to == current.number and situation.under_way:
        return Nothing(Cause.SAME, f"generation {to} is what is being rolled out")
    same = goal.fingerprint == current.fingerprint if settings else celeryconfig.same_code(goal, current)
    as_now = launch_digest(situation.spec, goal.application) == current.launch.get(situation.spec.name, "")
    if same and as_now and not situation.under_way:
        return Nothing(Cause.SAME, f"generation {current.number}, which serves, has the code of generation {to}")
    return None


def _no_other(situation: Situation, current: Generation, flaws: Mapping[int, str], settings: bool) -> Nothing:
    """Why there is nothing to go back to: nothing else was good, or it has the same code, or cannot start any more."""
    for number in reversed(situation.state.good):
        known = situation.generations.get(number)
        if known is None or known.fingerprint == current.fingerprint:
            continue
        if number in flaws:
            return _flawed(number, flaws)
        if not settings and number in situation.usable and celeryconfig.same_code(known, current):
            why = f"generation {number} has the same code, and another celeryconfig; to go back to that as well: "
            return Nothing(Cause.NO_OTHER, f"{why}trapctl rollout undo {situation.spec.name} --settings")
    return Nothing(Cause.NO_OTHER, "no other good generation is known")


def _flawed(number: int, flaws: Mapping[int, str]) -> Nothing:
    return Nothing(Cause.FLAWED, f"generation {number} cannot start: {flaws.get(number, 'its snapshot is gone')}")


def to_retry(situation: Situation) -> Nothing | Forgive:
    """Try again what was refused: what is installed, or a rollout that failed and is held."""
    if situation.stopping:
        return STOPPING
    latest, installed = situation.state.rollout, situation.installed
    failed = latest.generation if latest is not None and latest.state is RolloutState.FAILED else None
    held = failed if failed == situation.state.wanted else None
    if held is None and refusal(situation.state, installed) is None:
        return Nothing(Cause.NOT_REFUSED, "nothing was refused of what is installed now")
    return Forgive(f"generation of {installed.fingerprint[:12]} may be tried again", held)
