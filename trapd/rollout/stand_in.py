"""Where the last good generation does not start either: its code, asked once more with the wanted generation's
celeryconfig. Its own may be void: a password that was replaced (ADR 28).

Which of the two is asked changes whenever the one that was asked does not start, once for each failure of the canary.
So the code is cleared of blame only by both, and an outage is waited for as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from trapd.content import CELERYCONFIG
from trapd.model import Failure, Generation, Instance, InstanceState, PoolState
from trapd.rollout import celeryconfig
from trapd.rollout.blame import failed_canary
from trapd.rollout.refusals import candidate, refusal
from trapd.rollout.trial import retrials, retried
from trapd.rollout.want import GOOD_KEPT
from trapd.rollout.world import World

TO_BE_MADE = 0  # in the place of a generation's number


def other(
    fallback: int | None, state: PoolState, generations: Mapping[int, Generation], usable: Set[int]
) -> int | None:
    """The generation to ask instead of ``fallback``: the copy, or that of which it is one. TO_BE_MADE if there is no
    copy yet; None if there is nothing else to ask."""
    mine, wanted = generations.get(fallback or 0), generations.get(state.wanted or 0)
    if mine is None or wanted is None or mine.number not in state.good:
        return None
    after = mine.number > wanted.number  # then it is the copy
    there = [generations[n] for n in reversed(state.good) if n in usable and n in generations and n != wanted.number]
    for known in there:
        if (known.number < wanted.number) is after and celeryconfig.same_code(known, mine):
            return known.number
    copied = celeryconfig.with_other(mine, wanted.distributions.get(CELERYCONFIG))
    if after or copied is mine or celeryconfig.same_code(mine, wanted):
        return None
    return None if refusal(state, candidate(copied, state.pool)) else TO_BE_MADE


def due(world: World, now: float) -> str:
    """Why the other one is to be asked now; empty if it is not."""
    since = _since(world, now)
    if since is None or world.fallback is None or world.stand_in is None or world.held or world.tentative:
        return ""
    failure = _does_not_start(world, world.fallback, since)
    if failure is None or _does_not_start(world, world.stand_in, since):
        return ""
    return f"generation {world.fallback} does not start ({failure.summary}); its code with another celeryconfig may"


def set_aside(world: World, instance: Instance) -> bool:
    """Is this a failure of the one that is not asked now? It is to be remembered as long as the question is open."""
    return instance.state is InstanceState.FAILED and instance.id.generation == world.stand_in


def asked(state: PoolState, number: int) -> PoolState:
    """The pool that falls back on this one from now on: good code, with one celeryconfig or the other."""
    proven = tuple(n for n in state.good if n == state.wanted)
    rest = (n for n in state.good if n not in (number, state.wanted))
    return replace(state, good=(*rest, number, *proven)[-GOOD_KEPT:])


def decided(state: PoolState, generations: Mapping[int, Generation], instances: Iterable[Instance]) -> PoolState:
    """The pool whose wanted generation is about to be refused. The last good one serves first with its own
    celeryconfig, as long as workers of it do; then the copy is nothing to fall back on, before a canary tried one."""
    fallback = next((n for n in reversed(state.good) if n != state.wanted), None)
    instead = other(fallback, state, generations, generations.keys())
    if fallback is None or not instead:
        return state
    copy, source = max(fallback, instead), min(fallback, instead)
    serves = any(i.state is InstanceState.READY and i.id.generation == source for i in instances)
    if copy == fallback and not serves:
        return state
    return replace(state, good=tuple(n for n in state.good if n != copy))


def _since(world: World, now: float) -> float | None:
    """When the question came up: the canary failed, or a retrial began."""
    if (failed := failed_canary(world, now)) is not None:
        return failed.failed_at
    rollout = world.state.rollout
    return max(r.since for r in retrials(rollout)) if rollout is not None and retried(world) else None


def _does_not_start(world: World, generation: int, since: float) -> Failure | None:
    mine = [i.failure for i in world.instances if i.id.generation == generation]
    return next((f for f in mine if f is not None and f.at > since and not f.was_ready), None)
