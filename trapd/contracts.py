"""The promises that trapd's middle requires of its edges. Each has a number that a test in tests/contract cites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from trapd.event import Event, EventKind, TaskEnd
from trapd.model import (
    Disk,
    Failure,
    FailureKind,
    Generation,
    Instance,
    InstanceId,
    Memory,
    PoolState,
    Rollout,
    TreeFile,
)
from trapd.spec import Application, PoolSpec
from trapd.work import TaskRun, Work

# Seconds in ready after which earlier failures are forgiven (B9; systemd never forgives them, see systemd#43813);
# longer after a run that hung, because a hang shows only after the watchdog's time.
FRESH_AGAIN, FRESH_AFTER_HANG = 30.0, 300.0
STANDSTILL = 2.0  # seconds that a timer of trapd may be late; if it is later, trapd itself stood still (B13)
STOP_TIME = 55.0  # seconds that a drain has without a sign of life (B14); TimeoutStopSec= of the workers' unit


def fresh_after(failure: Failure | None) -> float:
    """Return the seconds in ready after which earlier failures are forgiven. ``failure``: the last of them."""
    return FRESH_AFTER_HANG if failure and failure.kind is FailureKind.WATCHDOG else FRESH_AGAIN


class Clock(Protocol):
    def now(self) -> float:
        """Seconds of CLOCK_MONOTONIC: for durations and deadlines."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch: for history only."""
        ...


class Backend(Protocol):
    """Runs instances. A backend never decides. It reports a change by calling ``on_change(pool)`` (given at
    construction), possibly too often, and its owner looks again with ``observe``.

    B1  ``observe`` lists every instance of every pool and generation that runs, or has failed and was not forgotten.
    B2  ``start`` returns once the instance is observed as starting. For an instance that runs it does nothing.
    B3  an instance is ready only after the worker itself sent READY=1, by a message of its own main process.
    B4  ``drain`` asks the main process alone to finish its tasks and exit; the instance is draining until it is gone.
        For an absent or a draining instance it does nothing.
    B5  an instance that drained and exited with status 0 is absent, not failed.
    B6  an instance that exits without being asked is failed, with kind, summary and the end of its log. Each failure
        reports whether that run was ready before.
    B7  ``kill`` ends the instance and every process it started; the result is failed unless it was draining.
    B8  ``forget`` makes a failed instance absent; on any other it does nothing.
    B9  ``failures`` counts failed runs in a row. It starts again at 0 after a run that stayed ready for 30 s, or for
        300 s after a run that the watchdog ended. The time counts to the last sign of life: a run that hung was not
        well after that.
    B10 every change of state calls ``on_change``.
    B11 a start without READY within its timeout (which EXTEND_TIMEOUT_USEC prolongs) is ended: failed, timeout.
    B12 a ready instance that sends no WATCHDOG=1 for the watchdog's time is ended: failed, watchdog. Not while it
        drains.
    B13 time in which trapd itself stood still does not count against any instance: a deadline of that time begins anew.
    B14 a draining instance that gives no sign of life for its stop time is ended: stopping, with a status that reports
        it, then absent. A worker prolongs the time with EXTEND_TIMEOUT_USEC as long as its tasks run, and its main
        thread waits for them.
    B15 ``alive_at`` is when a ready instance last gave a sign that its main loop turns, and grows with each sign;
        ``ailment`` is what keeps it from serving: what the worker itself reports, or that it has become silent.
    B16 ``memory`` returns the memory that each running instance uses, as far as that is known. The question costs time,
        and is asked only for a command, or when a pass would have more workers alive than are wanted.

    B17 ``interrupt`` raises SoftTimeLimitExceeded in the tasks of a draining instance whose Celery pool runs them in
        child processes. It returns whether there were any. If the worker gives no answer, it returns False after 2 s.

    An instance that is ended by B11, B12 or B14 gets SIGABRT, on which Python writes the stack of the hang into the
    log, and SIGKILL some seconds later.
    """

    async def observe(self) -> Sequence[Instance]: ...
    async def start(self, id: InstanceId) -> None: ...
    async def drain(self, id: InstanceId) -> None: ...
    async def interrupt(self, id: InstanceId) -> bool: ...
    async def kill(self, id: InstanceId) -> None: ...
    async def forget(self, id: InstanceId) -> None: ...
    async def memory(self) -> Mapping[InstanceId, Memory]: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to one worker; ``retrials`` see A6, ``abstain`` see A13."""

    instance: str
    pid: int
    retrials: Mapping[str, str] | None = None
    abstain: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of a worker that has ended. ``pid``: its main process; None: not known, and then every run counts that was
    there ``since`` (seconds since the epoch) and is not ``now``, the process that has its place."""

    instance: str
    pid: int | None
    since: float
    now: int | None = None

    def is_of(self, pid: int, wall: float) -> bool:
        """Was this file written by that run, at that time?"""
        return pid == self.pid if self.pid is not None else pid != self.now and wall >= self.since


class Accounts(Protocol):
    """What workers themselves say of their tasks. Each question goes to one worker; nothing asks regularly.

    A1  ``work`` returns what a worker answers, also while it drains, waits for its broker or runs a task in its loop.
    A2  if a worker does not answer, ``work`` returns why, and the tasks that stand in its task table.
    A3  ``end`` ends a task, or revokes it if it waits in the worker; ``now`` kills it. Returns what was done. Raises
        RefusedError if the worker does not have the task, or cannot end it.
    A4  an answer counts only if the worker's main process, ``pid``, has given it.
    A5  ``written`` returns the tasks in the worker's task table, without a question. It reads a file.
    A6  ``retrials``: task names, each with a mark. A worker that is asked with a mark for the first time counts the
        tasks of that name that are delivered from then on, and answers with these counts as long as it is asked. If
        the mark begins with the one before, and a dot, the answer has those counts as well, as ``compared``: the tasks
        in hand end in them.
    A7  ``registered`` returns the worker's registered tasks, each with the digest of its signature, from before it
        takes its first task on; None if it does not tell them, or not yet.
    A8  ``admit`` lets a worker serve that waits for trapd before it does; False if it does not answer, or not yet.
    A9  ``waiting`` returns how many messages of these tasks are in each of the worker's queues, as the worker counted
        them last, and under an empty name how many it has reserved; None where only the broker knows, and instead of
        all if the worker has not counted them yet.
    A10 ``poison`` has a task that is set aside for its kills tried again ("retry") or dropped ("drop"). Returns what
        will be done. Raises RefusedError if no such task is set aside on this host.
    A11 ``left`` returns the tasks that a run of a worker had when it was asked to leave, or when it ended, each with
        what became of it, from the files that the run has left. A task of which these do not say more is unknown.
    A12 ``settle`` removes the receipt of a worker that has ended, and if the worker is ``gone`` its task table. Where
        the folder is not trapd's own, the workers themselves remove receipts after a week.
    A13 ``abstain``: a worker that is asked with it takes no task for the next 5 s; it goes on with those that it has.
        By itself it takes tasks again when nobody has asked so for that time, or when it is asked without it.
    """

    async def work(
        self, instance: str, pid: int, retrials: Mapping[str, str] | None = None, *, abstain: bool = False
    ) -> Work: ...
    async def works(self, asked: Sequence[Asked]) -> Sequence[Work]:
        """Ask several workers at once."""
        ...

    async def end(self, instance: str, pid: int, id: str, *, now: bool) -> str: ...
    async def poison(self, instance: str, pid: int, id: str, order: str) -> str: ...
    async def left(self, ended: Ended) -> Sequence[TaskEnd]: ...
    async def settle(self, instance: str, *, gone: bool) -> None: ...
    def written(self, instance: str, pid: int) -> Sequence[TaskRun]: ...
    async def registered(self, instance: str, pid: int) -> Mapping[str, str] | None: ...
    async def admit(self, instance: str, pid: int) -> bool: ...
    async def waiting(self, instance: str, pid: int, tasks: Sequence[str]) -> Mapping[str, int | None] | None: ...


class MemoryGauge(Protocol):
    """Measures how much memory is left. It reads files of the kernel, and only a pass that would have more workers
    alive than are wanted asks it.

    M1  ``free`` returns the bytes that workers may take before the kernel kills one of them: the machine's available
        memory, or less if a control group that limits all workers together has less left. None: not known.
    M2  ``process`` is the main process of any worker: its control groups are those of the workers. A limit of this
        worker alone does not count.
    """

    async def free(self, process: int) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """What a generation takes on the disk, in bytes, and took to be made."""

    size: int = 0  # of its files
    added: int = 0  # of those that no other generation had
    seconds: float = 0.0


class Snapshots(Protocol):
    """Keeps the files of generations.

    S1  after ``make`` or ``copy`` the whole snapshot is there, or (after any failure or SIGKILL) nothing of it is.
    S2  a snapshot's files have the content that ``disk`` names. ``make`` raises SnapshotError if a file no longer has
        that content: there is never a snapshot of two states.
    S3  a snapshot's files never change afterwards, whatever happens to the installed files.
    S4  ``remove`` removes a whole snapshot; for an absent snapshot it does nothing.
    S5  ``flaw`` returns why no worker can start from a snapshot, and what to do; it is empty if workers can.
    S6  ``examine`` compares snapshots with the files that were copied. A damaged snapshot is not present from then on,
        and ``damaged`` names the damage. ``copy`` makes no snapshot from a damaged one.
    S7  after ``compile`` workers of a snapshot compile nothing that they import from it; nothing else of it changes.
    S8  ``link_ahead`` lets the next ``make`` take less time, and changes nothing else. It ends at once when something
        else is ordered, and does not begin before that is over; it returns False then.
    S9  ``expect`` lets the next ``make`` take less time, if it comes, and changes nothing else.
    """

    async def make(
        self, generation: Generation, disk: Disk, pools: Sequence[PoolSpec], application: Application
    ) -> None: ...
    async def copy(
        self, generation: Generation, source: int, pools: Sequence[PoolSpec], celeryconfig: TreeFile | int | None = None
    ) -> None:
        """``celeryconfig``: an installed one, or the generation that has it; None: that of ``source``."""
        ...

    async def remove(self, number: int) -> None: ...
    async def flaw(self, number: int) -> str: ...
    async def cost(self, number: int) -> Cost | None:
        """Return the cost of a generation; None if it is not known: for generations of trapd 0.1.0, and absent ones."""
        ...

    async def files(self, number: int) -> Mapping[str, tuple[str, int]]:
        """Return the application's files of a generation: path -> digest, empty if not known, and size in bytes.

        A generation that is absent has none."""
        ...

    async def examine(self, numbers: Iterable[int]) -> frozenset[int]: ...
    async def compile(self, number: int) -> None: ...
    async def link_ahead(self) -> bool: ...
    async def expect(self, *, make: bool) -> None:
        """``make``: that order will probably come soon, for an installer is at work; or not, for it has ended."""
        ...

    def present(self) -> frozenset[int]: ...
    def damaged(self) -> Mapping[int, str]: ...
    def left_out(self, number: int) -> Sequence[str]:
        """Return the installed files that a generation does not have because trapd could not read them."""
        ...

    def making(self) -> tuple[int, int] | None:
        """Return the number of the generation that is being made now, and how many bytes are copied for it."""
        ...


_NO_NOTES: Mapping[str, str] = {}


class History(Protocol):
    """Keeps what is wanted, and the events. Calls are short and synchronous: one transaction each.

    J1  ``next_generation`` and ``next_rollout`` never return the same number twice, over any crash.
    J2  ``save`` is all or nothing, and survives SIGKILL from the moment it returns.
    J3  events are kept in the order in which they were saved.
    J4  saving a PoolState with a rollout also updates that rollout's record.
    J5  ``save`` gives each event an id, larger than any id before, over any crash, and returns the events with their
        ids; no other event ever has the same id, even after events were forgotten.
    J6  ``unfinished`` returns, for each instance that is not over by its latest event, that event, its last failure
        and the last of each kind that the worker itself reports (EventKind.reported) if there are any, in the order in
        which they were saved. It skips errors, and the orders that they are about.
    J7  ``failures`` counts the failed runs of an instance since it was last over, and returns the last of them.
    J8  ``note`` returns the text that was last saved under a name, in the same ``save`` as events or not; empty if none
        ever was.
    J9  ``put_off`` keeps events in memory that ``save`` could not write. ``events`` returns them like others, with the
        ids that they are to have; the next ``save`` that can write does so, before what it is given. What a crash takes
        with it is the only exception to J5.
    """

    def next_generation(self) -> int: ...
    def next_rollout(self) -> int: ...
    def last_generation(self) -> int:
        """Return the latest number that ``next_generation`` returned; 0 before the first."""
        ...

    def generations(self) -> Mapping[int, Generation]: ...
    def pools(self) -> Mapping[str, PoolState]: ...
    def rollouts(self, pool: str | None = None, limit: int = 20) -> Sequence[Rollout]:
        """Return the latest ``limit`` rollouts, newest first."""
        ...

    def rollout(self, id: int) -> Rollout | None: ...

    def events(
        self,
        *,
        pool: str | None = None,
        rollout: int | None = None,
        generation: int | None = None,
        instance: str | None = None,
        kind: EventKind | None = None,
        since: int | None = None,
        limit: int = 100,
    ) -> Sequence[Event]:
        """Return the latest ``limit`` events, oldest first; with ``since`` the first ``limit`` events after the event
        with this id."""
        ...

    def unfinished(self) -> Sequence[Event]:
        """See J6."""
        ...

    def note(self, name: str) -> str:
        """See J8."""
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
        notes: Mapping[str, str] = _NO_NOTES,
    ) -> Sequence[Event]:
        """Save all of these; return the events with their ids."""
        ...

    def put_off(self, events: Iterable[Event]) -> None:
        """See J9."""
        ...

    def drop_generations(self, numbers: Iterable[int]) -> None:
        """Forget the records of collected generations; their events stay."""
        ...
