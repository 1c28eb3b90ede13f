"""Remove the generations that nobody needs any more, and what is remembered of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from trapd.contracts import Backend, History, Snapshots
from trapd.errors import HistoryError
from trapd.model import Generation, PoolState
from trapd.rollout import want

Collect = Callable[[frozenset[int], Iterable[int]], frozenset[int]]  # present, needed -> to be removed


class Known(Protocol):
    """What there is: a controller has it."""

    backend: Backend
    snapshots: Snapshots
    history: History
    states: dict[str, PoolState]
    generations: dict[int, Generation]

    def writing(self) -> AbstractContextManager[None]: ...


async def remove_useless(known: Known, collect: Collect) -> None:
    """Remove the snapshots and records of ``known``; those that were damaged as well."""
    needed = {i.id.generation for i in await known.backend.observe()}
    needed |= {number for state in known.states.values() for number in want.needed(state)}
    snapshots = known.snapshots
    gone = collect(snapshots.present(), needed) | (snapshots.damaged().keys() - needed)
    # the records first, so that nobody is offered what is half removed; with those that stayed when the disk was full
    useless = {n for n in known.generations if n not in needed and (n in gone or n not in snapshots.present())}
    if useless:
        with contextlib.suppress(HistoryError), known.writing():
            known.history.drop_generations(useless)
            for number in useless:
                del known.generations[number]
    for number in sorted(gone):
        await snapshots.remove(number)
