"""Begin a rollout: a generation is wanted from now on, written down before anything moves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trapd import new_generation
from trapd.controller import Controller
from trapd.errors import HistoryError
from trapd.model import Apart, Generation, PoolState, Rollout
from trapd.rollout import want
from trapd.rollout.events import begun, superseded
from trapd.rollout.intent import CopyOf, Intent

log = logging.getLogger("trapd.triggers")


async def copies(known: Controller, meant: Mapping[str, Intent], actor: str) -> list[Rollout]:
    """Begin a copy in each pool that means one; those that want the same generation share it. Raises HistoryError or
    SnapshotError."""
    by_source: dict[CopyOf, list[str]] = {}
    for name, what in meant.items():
        if isinstance(what, CopyOf):
            by_source.setdefault(what, []).append(name)
    rollouts = []
    for what, names in by_source.items():
        # a copy of what has not settled has not, either
        states = [known.state(name) for name in names]
        early = any(want.is_tentative(s) and s.wanted == what.generation for s in states)
        copy = await new_generation.copied(known, what, actor)
        rollouts += await begin(known, names, copy, tentative=early)
    return rollouts


async def begin(
    known: Controller,
    pools: Sequence[str],
    generation: Generation,
    *,
    reason: str = "",
    actor: str = "",
    before: Mapping[str, PoolState] | None = None,
    tentative: bool = False,
    apart: Apart | None = None,
) -> list[Rollout]:
    """Want this generation in these pools, and write down who began that and why; by default as the generation says.

    ``before``: of a pool that is changed by the same stroke, as it is without the new rollout. ``apart``: of what the
    generation is a half or the whole. Raises HistoryError: then nothing has begun, and a generation that was made for
    it has no snapshot any more.
    """
    reason, actor = reason or generation.reason, actor or generation.actor
    states: list[PoolState] = []
    try:
        for name in pools:
            with known.writing():
                rollout = known.history.next_rollout()
            state = (before or {}).get(name) or known.state(name)
            now, wall = known.clock.now(), known.clock.wall()
            states += want.begin(
                state, generation, rollout, reason=reason, actor=actor, now=now, wall=wall, known=known.generations
            )
            begins = replace(states[-1], apart=apart)
            states[-1] = want.tentatively(begins) if tentative else begins
        turned = [state.rollout for state in states if state.rollout is not None]
        events = [superseded(r, r.reason, actor, now, wall) if r.state.over else begun(r) for r in turned]
        known.save(states, events, [generation])
    except HistoryError:
        if generation.number not in known.generations:  # nobody would ever use its snapshot
            await known.snapshots.remove(generation.number)
        raise
    rollouts = [s.rollout for s in states if s.rollout is not None and not s.rollout.state.over]
    for r in rollouts:
        fields = {"POOL": r.pool, "GENERATION": str(r.generation), "ROLLOUT": str(r.id)}
        log.info("%s: generation %d is wanted: %s", r.pool, r.generation, reason, extra={"fields": fields})
    known.wake()
    known.notify()
    return rollouts
