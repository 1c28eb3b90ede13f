"""What a plan is made from: one pool at one moment, and the questions a planner asks of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trapd.model import FailureKind, Instance, InstanceState, PoolSpec, PoolState, Rollout, RolloutState
from trapd.rollout.truth import available_at

# Not those that are stopping: one that has just crashed is, until its backend knows how it ended. To replace it then
# would forget its failures, and with them the pause before the next try and the blame.
_LEAVING = frozenset({InstanceState.DRAINING})

# A worker that says itself that its code failed, or hangs while it imports, will do so again; anything else
# (killed, out of memory, a segfault) may be a passing trouble of the machine.
_TRIES = {FailureKind.CODE: 1, FailureKind.TIMEOUT: 1, FailureKind.WATCHDOG: 3, FailureKind.CRASH: 3}


@dataclass(frozen=True, slots=True)
class World:
    """One pool as it is wanted and as it is seen. ``usable``: generations whose snapshot is there."""

    spec: PoolSpec
    state: PoolState
    instances: tuple[Instance, ...]
    usable: frozenset[int]
    eager: bool = False
    stopping: bool = False

    @property
    def wanted_workers(self) -> int:
        if self.stopping or self.eager:
            return 0
        return self.spec.workers if self.state.workers is None else self.state.workers

    @property
    def proven(self) -> bool:
        return self.state.wanted in self.state.good

    @property
    def fallback(self) -> int | None:
        """The generation that serves while the wanted one is not proven."""
        return next((g for g in reversed(self.state.good) if g != self.state.wanted and g in self.usable), None)

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way, if any."""
        rollout = self.state.rollout
        return None if rollout is None or rollout.state.over or rollout.generation != self.state.wanted else rollout

    @property
    def held(self) -> bool:
        """Nothing moves: paused by a person, or failed with on_failure = "hold"."""
        latest = self.state.rollout
        failed_here = (
            latest is not None and latest.state is RolloutState.FAILED and latest.generation == self.state.wanted
        )
        return self.state.paused or failed_here

    def leaving(self) -> list[Instance]:
        return [i for i in self.instances if i.state in _LEAVING]

    def staying(self, *, target: bool) -> list[Instance]:
        """Those of the wanted generation, or all others, that were not told to leave."""
        return [
            i for i in self.instances if (i.id.generation == self.state.wanted) is target and i.state not in _LEAVING
        ]

    def available(self, now: float) -> list[Instance]:
        """Those of the wanted generation that were ready for min_ready."""
        min_ready = self.spec.policy.min_ready
        return [i for i in self.staying(target=True) if (at := available_at(i, min_ready)) is not None and at <= now]


def ready(instances: Iterable[Instance]) -> list[Instance]:
    return [i for i in instances if i.state is InstanceState.READY]


def exhausted(instance: Instance) -> bool:
    """Has this failed often enough to ask whose fault it is?"""
    return (
        instance.state is InstanceState.FAILED
        and instance.failure is not None
        and instance.failures >= _TRIES[instance.failure.kind]
    )
