"""What we ask of the world. Each promise has a number that a test in tests/contract cites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from trapd.model import Disk, Event, Generation, Instance, InstanceId, PoolSpec, PoolState, Rollout

FRESH_AGAIN = 30.0  # seconds in ready after which earlier failures are forgiven (B9; systemd#43813: theirs never are)


class Clock(Protocol):
    def now(self) -> float:
        """Seconds of CLOCK_MONOTONIC: for durations and deadlines."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch: for history only."""
        ...


class Backend(Protocol):
    """Runs instances. It never decides; it tells its owner that something changed by calling ``on_change(pool)``
    (given at construction), possibly too often, and the owner looks again with ``observe``.

    B1  ``observe`` lists every instance that runs or failed and was not forgotten, of every pool and generation.
    B2  ``start`` returns once the instance is observed as starting (or already runs: starting twice is starting once).
    B3  ready is reported only after the worker itself said READY=1, by a message of its own main process.
    B4  ``drain`` asks the main process alone to finish what it runs; the instance is draining until it is gone.
        Draining an absent instance, or one that drains already, does nothing.
    B5  an instance that drained and left with exit status 0 is absent, not failed.
    B6  an instance that leaves without being asked is failed, with kind, summary and the last words it left.
    B7  ``kill`` ends the instance and every process it started; the result is failed unless it was draining.
    B8  ``forget`` makes a failed instance absent; on any other it does nothing.
    B9  ``failures`` counts failed runs in a row and starts again at 0 after a run that stayed ready for 30 s.
    B10 every change of state calls ``on_change``.
    """

    async def observe(self) -> Sequence[Instance]: ...
    async def start(self, id: InstanceId) -> None: ...
    async def drain(self, id: InstanceId) -> None: ...
    async def kill(self, id: InstanceId) -> None: ...
    async def forget(self, id: InstanceId) -> None: ...


class Snapshots(Protocol):
    """Keeps generations' files.

    S1  after ``make`` or ``copy`` the whole snapshot is there, or (after any failure or SIGKILL) nothing is.
    S2  ``make`` raises SnapshotError if a file's content is not what ``disk`` says: never a snapshot of two states.
    S3  a snapshot's files never change afterwards, whatever happens to the installed ones.
    S4  ``remove`` removes one whole; removing an absent one does nothing.
    """

    async def make(self, generation: Generation, disk: Disk, pools: Sequence[PoolSpec]) -> None: ...
    async def copy(self, generation: Generation, source: int, pools: Sequence[PoolSpec]) -> None: ...
    async def remove(self, number: int) -> None: ...
    def present(self) -> frozenset[int]: ...


class Journal(Protocol):
    """Remembers what is wanted and what happened. Calls are short and synchronous: one transaction each.

    J1  ``next_generation`` and ``next_rollout`` never return the same number twice, over any crash.
    J2  ``save`` is all or nothing, and survives SIGKILL from the moment it returns.
    J3  events are kept in the order they were saved.
    J4  saving a PoolState with a rollout also updates that rollout's record.
    """

    def next_generation(self) -> int: ...
    def next_rollout(self) -> int: ...
    def generations(self) -> Mapping[int, Generation]: ...
    def pools(self) -> Mapping[str, PoolState]: ...
    def rollouts(self, pool: str | None = None, limit: int = 20) -> Sequence[Rollout]:
        """Newest first."""
        ...

    def rollout(self, id: int) -> Rollout | None: ...

    def events(
        self, *, pool: str | None = None, rollout: int | None = None, generation: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        """The latest ``limit``, oldest first."""
        ...

    def save(
        self,
        *,
        pools: Iterable[PoolState] = (),
        generations: Iterable[Generation] = (),
        events: Iterable[Event] = (),
    ) -> None: ...

    def drop_generations(self, numbers: Iterable[int]) -> None:
        """Forget the records of collected generations; their events stay."""
        ...
