"""Make a generation that was not there before: a number that was never given, and for a copy its snapshot."""

from __future__ import annotations

from collections.abc import Collection

from trapd.controller import Controller
from trapd.errors import SnapshotError
from trapd.model import Disk, DiskState, Generation
from trapd.rollout import celeryconfig, changes, condition, fresh
from trapd.rollout.intent import CopyOf, ReturnTo


def numbered(known: Controller, like: Disk | Generation, reason: str, actor: str) -> Generation:
    """Return what is installed, or another generation's code, under a new number. Raises HistoryError."""
    return fresh.generation(
        _next_number(known),
        like,
        reason=reason,
        actor=actor,
        wall=known.clock.wall(),
        application=known.application,
        specs=known.specs,
        loaded=fresh.loaded_before(like, known.states.values(), known.generations),
    )


async def installed(
    known: Controller, reason: str, actor: str, *, beside: Collection[int | None] = frozenset()
) -> Generation:
    """Make a generation of what is installed. ``beside``: those of the same code, which are compared with what was
    copied first, as damage would be taken over from them. Raises HistoryError or SnapshotError."""
    if beside:
        await known.snapshots.examine(number for number in beside if number is not None)
    generation = numbered(known, known.disk, reason, actor)
    await known.snapshots.make(generation, known.disk, list(known.specs.values()), known.application)
    return generation


async def copied(known: Controller, what: CopyOf, actor: str) -> Generation:
    """Make the code of a generation under a new number. Raises HistoryError or SnapshotError."""
    old, config = celeryconfig.of_copy(what.generation, what.celeryconfig, known.generations, known.disk)
    generation = numbered(known, old, what.why, actor)
    specs = list(known.specs.values())
    try:
        await known.snapshots.copy(generation, old.number, specs, config)
    except SnapshotError:
        if old.number in known.snapshots.present() or not _has_installed(known, old):
            raise
        # what does not count for the generation may be another there
        generation = condition.met(changes.with_table(generation, known.disk), known.disk)
        await known.snapshots.make(generation, known.disk, specs, known.application)
    return generation


async def meant(known: Controller, what: CopyOf | ReturnTo, actor: str) -> Generation:
    """Return the generation to roll out: a copy that is made now, or one that is there. Raises as ``copied``."""
    return await copied(known, what, actor) if isinstance(what, CopyOf) else known.generations[what.generation]


def _next_number(known: Controller) -> int:
    """Never one whose snapshot is there: a person may have moved a damaged history away, so that it begins anew."""
    with known.writing():
        while (number := known.history.next_generation()) in known.snapshots.present():
            pass
    return number


def _has_installed(known: Controller, generation: Generation) -> bool:
    """Is its very code installed? Then it can be had without its files, which are damaged or gone."""
    settled = known.disk.state is DiskState.SETTLED and known.disk.fingerprint == generation.fingerprint
    return settled and known.application.identity == generation.application
