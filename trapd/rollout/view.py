"""What may be shown of a pool: the last pass, whole."""

from __future__ import annotations

from dataclasses import dataclass

from trapd.model import Instance, PoolSpec, PoolState
from trapd.rollout.actions import Action
from trapd.rollout.intent import Intent, Received


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool as a pass saw it, and what the pass made of it.

    ``actions``: what the pass decided; ``waiting``: what for, "" if for nothing. ``installed``: what the code on disk
    means for it now; ``received``: the latest trigger, and what that meant then.
    """

    spec: PoolSpec
    state: PoolState
    instances: tuple[Instance, ...] = ()
    wanted_workers: int = 0
    waiting: str = ""
    actions: tuple[Action, ...] = ()
    installed: Intent | None = None
    received: Received | None = None
    at: float = 0.0  # when the pass looked, of CLOCK_MONOTONIC
    wall: float = 0.0  # the same moment, in seconds since the epoch
