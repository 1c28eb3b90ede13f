"""What may be shown of a pool: the last pass, whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from trapd.model import Instance, InstanceState, PoolState
from trapd.rollout.actions import Action, Start
from trapd.rollout.gates import Closed
from trapd.rollout.intent import FromDisk, Intent, Received
from trapd.rollout.room import Room
from trapd.sizes import amount
from trapd.spec import PoolSpec


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool as a pass saw it, and what the pass made of it.

    ``actions``: what the pass decided; ``waiting``: what for, "" if for nothing. ``installed``: what the code on disk
    means for it now; ``received``: the latest trigger, and what that meant then. ``room``: for how many more workers
    there was memory, when a pass asked last; ``short``: which memory is missing, ``short_since``: since when.
    ``gate``: where its rollout waits for a person.
    """

    spec: PoolSpec
    state: PoolState
    instances: tuple[Instance, ...] = ()
    wanted_workers: int = 0
    waiting: str = ""
    actions: tuple[Action, ...] = ()
    installed: Intent | None = None
    received: Received | None = None
    room: Room | None = None
    short: str = ""
    gate: Closed | None = None
    short_since: float = 0.0  # of CLOCK_MONOTONIC
    at: float = 0.0  # when the pass looked, of CLOCK_MONOTONIC
    wall: float = 0.0  # the same moment, in seconds since the epoch

    @property
    def grows(self) -> bool:
        """Would its actions have more workers alive than are wanted?"""
        starts = sum(isinstance(action, Start) for action in self.actions)
        alive = sum(instance.state is not InstanceState.FAILED for instance in self.instances)
        return starts > 0 and alive + starts > self.wanted_workers

    def while_copying(self, making: tuple[int, int] | None) -> PoolView:
        """The view while a generation is made: its number, and how many bytes are copied for it."""
        if making is None or not isinstance(self.installed, FromDisk):
            return self
        number, size = making
        return replace(self, waiting=f"generation {number}, of which {amount(size)} are being copied")


def of_pool(pool: str, seen: Iterable[Instance]) -> tuple[Instance, ...]:
    """The workers of one pool, in order."""
    return tuple(sorted((i for i in seen if i.id.pool == pool), key=lambda i: i.id))
