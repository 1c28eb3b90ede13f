"""New code and a new celeryconfig came together, fail, and nobody can tell which is to blame: they are taken apart.

The last good generation does not start either, and the reason may be its celeryconfig: a password that was replaced is
void (ADR 28). So its code is rolled out with the new celeryconfig, as any other generation is: one half of what is new.
When that is decided, the whole is rolled out once more, and then there is something to compare it with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trapd.content import CELERYCONFIG
from trapd.model import Apart, DiskState, Generation, PoolState
from trapd.rollout import celeryconfig, pin
from trapd.rollout.actions import PutTogether, TakeApart
from trapd.rollout.blame import failed_canary, witness_failure
from trapd.rollout.intent import CopyOf, ReturnTo, Situation
from trapd.rollout.refusals import candidate, refusal
from trapd.rollout.world import World

LONGEST_PAUSE = 3600.0  # s between two rounds: an outage of a day must not cost another day


def sources(state: PoolState, generations: Mapping[int, Generation]) -> frozenset[int]:
    """The good generations whose code may be tried with the celeryconfig of the wanted one: both are others there, and
    the two were not refused together."""
    whole = generations.get(state.wanted or 0)
    good = [generations[number] for number in state.good if number in generations and number != state.wanted]
    return frozenset() if whole is None else frozenset(one.number for one in good if _may_be(state, one, whole))


def _may_be(state: PoolState, source: Generation, whole: Generation) -> bool:
    half = celeryconfig.with_other(source, whole.distributions.get(CELERYCONFIG))
    if half is source or celeryconfig.same_code(source, whole):
        return False
    return refusal(state, candidate(half, state.pool)) is None


def due(world: World, now: float) -> TakeApart | PutTogether | None:
    """What is to be tried now in the place of the wanted generation, if anything is.

    The first time at once. Each further time when the whole has been tried for progress_deadline, then for twice as
    long as before, up to an hour, so that an outage, in which neither half starts, is not filled with rollouts.
    """
    apart, latest, wanted = world.state.apart, world.state.rollout, world.state.wanted
    if world.held or world.tentative or world.stopping or wanted is None:
        return None
    if apart is not None and latest is not None and latest.generation == apart.half:
        how = _decided(world, apart, now) if world.reunites else ""
        why = f"generation {apart.half}, which has its celeryconfig and not its code, {how}"
        return PutTogether(apart.whole, why) if how else None
    if world.fallback is None or world.fallback not in world.sources or world.wanted_workers == 0:
        return None
    if apart is not None and latest is not None:
        least = world.spec.policy.progress_deadline
        longer = min(least * 2.0 ** min(apart.rounds, 32), LONGEST_PAUSE)
        if now < (latest.began_at or 0.0) + max(least, longer):
            return None
    why = _at_a_loss(world, now)
    return TakeApart(wanted, why, source=world.fallback) if why else None


def _decided(world: World, apart: Apart, now: float) -> str:
    """How the half turned out; empty as long as it may turn out otherwise."""
    latest = world.state.rollout
    if latest is not None and latest.state.over:
        return f"was tried: {latest.state}"
    if world.proven:
        return "is good"
    if apart.half not in world.usable:
        return "has lost its snapshot"
    return "does not start either" if _at_a_loss(world, now) else ""


def _at_a_loss(world: World, now: float) -> str:
    """Why nothing can be told of the wanted generation; empty if something can, or is still to be asked."""
    failed = failed_canary(world, now)
    failure = None if failed is None else witness_failure(world, failed)
    if failure is None or failure.was_ready:
        return ""
    return f"generation {world.fallback}, to compare with, does not start ({failure.summary})"


def reunites(situation: Situation) -> bool:
    """May the whole be rolled out once more now? Not while the disk changes, or runs hold other code."""
    state = situation.state
    if state.apart is None or situation.disk.state is not DiskState.SETTLED:
        return False
    return not state.pins or state.apart.whole in pin.allowed(state, situation.generations)


def meant(situation: Situation, action: TakeApart | PutTogether) -> CopyOf | ReturnTo | None:
    """What the action rolls out by now; None if something else came between, or what is installed is another."""
    state, apart = situation.state, situation.state.apart
    if situation.stopping or state.paused:
        return None
    if isinstance(action, PutTogether):
        again = apart is not None and apart.whole == action.generation and reunites(situation)
        if not again or action.generation not in situation.usable or not situation.is_installed(action.generation):
            return None
        if refusal(state, situation.installed) is not None:
            return None
        return ReturnTo(action.generation, f"generation {action.generation} once more: {action.why}")
    if state.wanted != action.generation or action.source not in state.good:
        return None
    why = (
        f"the code of generation {action.source} with the celeryconfig of generation {action.generation}: {action.why}"
    )
    if apart is not None and apart.half in situation.usable:
        return ReturnTo(apart.half, why)
    return CopyOf(action.source, why, action.generation)


def apart(state: PoolState, action: TakeApart | PutTogether, wanted: int) -> Apart | None:
    """What is remembered of the two while this number is ``wanted``."""
    before = state.apart
    if isinstance(action, PutTogether):
        return before
    return Apart(action.generation, wanted, 0 if before is None else before.rounds + 1)


def forgotten(situation: Situation, action: TakeApart | PutTogether) -> PoolState | None:
    """The pool that tries the whole no more, if that is not installed any more or cannot be: then what is installed by
    now decides. None if it is only not the time."""
    state = situation.state
    if not isinstance(action, PutTogether) or situation.stopping or state.paused or not reunites(situation):
        return None
    return replace(state, apart=None)
