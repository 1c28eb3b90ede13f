"""What we ask of the world. Each promise has a number that a test in tests/contract cites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from trapd.event import Event
from trapd.model import (
    Application,
    Cost,
    Disk,
    Failure,
    FailureKind,
    Generation,
    Instance,
    InstanceId,
    Memory,
    PoolSpec,
    PoolState,
    Rollout,
)

# Seconds in ready after which earlier failures are forgiven (B9; systemd#43813: theirs never are); after a run that
# hung, which takes its watchdog's time to show.
FRESH_AGAIN, FRESH_AFTER_HANG = 30.0, 300.0
STANDSTILL = 2.0  # seconds that a timer of ours may be late; if it is later, then it was we who stood still (B13)
STOP_TIME = 60.0  # seconds that a drain has without a sign of life (B14); TimeoutStopSec= of the workers' unit


def fresh_after(failure: Failure | None) -> float:
    """Seconds in ready after which earlier failures are forgiven, the last of which was this."""
    return FRESH_AFTER_HANG if failure and failure.kind is FailureKind.WATCHDOG else FRESH_AGAIN


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
    B9  ``failures`` counts failed runs in a row and starts again at 0 after a run that stayed ready for 30 s, or for
        300 s after one that its watchdog ended; to its last sign of life, for what hung was not well all that time.
    B10 every change of state calls ``on_change``.
    B11 a start that has not said READY within its timeout (prolonged by EXTEND_TIMEOUT_USEC) is ended: failed, timeout.
    B12 a ready instance that gives no WATCHDOG=1 for the watchdog's time is ended: failed, watchdog. Not while it
        drains.
    B13 time in which trapd itself stood still is held against nobody: what was due then has its whole time once more.
    B14 a draining instance that gives no sign of life for its stop time (EXTEND_TIMEOUT_USEC prolongs it, which a
        worker sends as long as its tasks run) is ended: stopping, with a status that says so, then absent.
    B15 ``alive_at`` is when a ready instance last gave a sign that its main loop turns, and grows with each;
        ``ailment`` says what keeps it from serving: what it tells itself, and that it has become silent.
    B16 ``memory`` says what each instance that runs uses, as far as that is known. It costs something, and is asked for
        only when somebody looks, or when a pass would have more workers alive than are wanted.

    What is ended by B11, B12 and B14 gets SIGABRT, on which Python writes the stack of what it hangs in to the log, and
    SIGKILL some seconds later.
    """

    async def observe(self) -> Sequence[Instance]: ...
    async def start(self, id: InstanceId) -> None: ...
    async def drain(self, id: InstanceId) -> None: ...
    async def kill(self, id: InstanceId) -> None: ...
    async def forget(self, id: InstanceId) -> None: ...
    async def memory(self) -> Mapping[InstanceId, Memory]: ...


class MemoryGauge(Protocol):
    """Says how much memory is left. It reads files of the kernel, and is asked only by a pass that would have more
    workers alive than are wanted.

    M1  ``free`` returns the bytes that workers may take without the kernel killing one of them: what the machine has
        available, and no more than is left to each control group that limits all workers together. None: not known.
    M2  ``process`` is the main process of any worker: its control groups are those of the workers. A limit of this
        worker alone does not count.
    """

    async def free(self, process: int) -> int | None: ...


class Snapshots(Protocol):
    """Keeps generations' files.

    S1  after ``make`` or ``copy`` the whole snapshot is there, or (after any failure or SIGKILL) nothing is.
    S2  a snapshot's files have the content that ``disk`` says, and ``make`` raises SnapshotError if one of them cannot
        be had any more: never a snapshot of two states.
    S3  a snapshot's files never change afterwards, whatever happens to the installed ones.
    S4  ``remove`` removes one whole; removing an absent one does nothing.
    S5  ``flaw`` says why no worker could start from one, and what to do; it is empty where nothing speaks against it.
    S6  ``examine`` compares snapshots with what was copied: one that is damaged is not present from then on, and
        ``damaged`` says what is wrong with it. ``copy`` makes none of a damaged one.
    S7  after ``compile`` workers of a snapshot compile nothing that they import from it; nothing else of it changes.
    """

    async def make(
        self, generation: Generation, disk: Disk, pools: Sequence[PoolSpec], application: Application
    ) -> None: ...
    async def copy(self, generation: Generation, source: int, pools: Sequence[PoolSpec]) -> None: ...
    async def remove(self, number: int) -> None: ...
    async def flaw(self, number: int) -> str: ...
    async def cost(self, number: int) -> Cost | None:
        """None where that is not known: of generations that trapd 0.1.0 has made, and of absent ones."""
        ...

    async def examine(self, numbers: Iterable[int]) -> frozenset[int]: ...
    async def compile(self, number: int) -> None: ...
    def present(self) -> frozenset[int]: ...
    def damaged(self) -> Mapping[int, str]: ...


class History(Protocol):
    """Remembers what is wanted and what happened. Calls are short and synchronous: one transaction each.

    J1  ``next_generation`` and ``next_rollout`` never return the same number twice, over any crash.
    J2  ``save`` is all or nothing, and survives SIGKILL from the moment it returns.
    J3  events are kept in the order they were saved.
    J4  saving a PoolState with a rollout also updates that rollout's record.
    J5  ``save`` gives each event an id, larger than any before it, over any crash, and returns the events with theirs;
        no other event ever has that id, whatever was forgotten.
    J6  ``unfinished`` gives, of each instance that is not over by its latest event, that event and its last failure if
        there is one, in the order they were saved. Errors are passed over, with the orders that came to nothing.
    J7  ``failures`` counts the failed runs of an instance since it was last over, and gives the last of them.
    """

    def next_generation(self) -> int: ...
    def next_rollout(self) -> int: ...
    def last_generation(self) -> int:
        """The latest that ``next_generation`` returned; 0 before the first."""
        ...

    def generations(self) -> Mapping[int, Generation]: ...
    def pools(self) -> Mapping[str, PoolState]: ...
    def rollouts(self, pool: str | None = None, limit: int = 20) -> Sequence[Rollout]:
        """Newest first."""
        ...

    def rollout(self, id: int) -> Rollout | None: ...

    def events(
        self,
        *,
        pool: str | None = None,
        rollout: int | None = None,
        generation: int | None = None,
        instance: str | None = None,
        limit: int = 100,
    ) -> Sequence[Event]:
        """The latest ``limit``, oldest first."""
        ...

    def unfinished(self) -> Sequence[Event]:
        """See J6."""
        ...

    def failures(self, instance: str) -> tuple[int, Event | None]:
        """See J7."""
        ...

    def save(
        self,
        *,
        pools: Iterable[PoolState] = (),
        generations: Iterable[Generation] = (),
        events: Iterable[Event] = (),
    ) -> Sequence[Event]:
        """Returns the events, with the ids that they were given."""
        ...

    def drop_generations(self, numbers: Iterable[int]) -> None:
        """Forget the records of collected generations; their events stay."""
        ...
