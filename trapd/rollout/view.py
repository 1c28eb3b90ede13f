"""What may be shown of a pool: the last pass, whole."""

from __future__ import annotations

from dataclasses import dataclass

from trapd.model import Instance, PoolSpec, PoolState
from trapd.rollout.actions import Action


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool as a pass saw it, and what the pass made of it.

    ``actions``: what the pass decided; ``waiting``: what for, "" if for nothing.
    """

    spec: PoolSpec
    state: PoolState
    instances: tuple[Instance, ...] = ()
    wanted_workers: int = 0
    waiting: str = ""
    actions: tuple[Action, ...] = ()
