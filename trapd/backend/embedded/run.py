"""One run of one instance: its state, and the distinction between an end and a failure."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from trapd.backend.embedded.notify import microseconds
from trapd.backend.embedded.spawn import Process
from trapd.backend.words import OUT_OF_MEMORY, active_tasks, ailment, ending
from trapd.contracts import fresh_after
from trapd.masking import mask
from trapd.model import Ailment, CodeReport, Failure, FailureKind, Instance, InstanceId, InstanceState

_CLEAN = (
    0,
    -signal.SIGTERM,
    None,
)  # as for systemd; a worker that is asked to exit while it imports is killed by the SIGTERM itself


@dataclass(eq=False)
class Run:
    """From ``start`` until it is forgotten. Only ``enter`` moves it from state to state."""

    id: InstanceId
    since: float
    state: InstanceState = InstanceState.STARTING
    process: Process | None = None
    pid: int = 0
    ready_at: float | None = None
    sent_ready: bool = False  # from before its report is read, and it is shown as ready
    alive_at: float = 0.0
    report: CodeReport | None = None
    status: str = ""
    active_tasks: int | None = None
    errno: int = 0
    earlier_failures: int = 0
    failure: Failure | None = None
    asked: bool = False  # to finish its tasks and exit
    killed: bool = False
    verdict: tuple[FailureKind, str] | None = None  # why trapd ended it, from before its end
    allowed: float = 0.0  # s for its READY, for its next sign of life, or for its drain; 0: no deadline
    deadline: float = 0.0  # of the loop's clock
    timer: asyncio.TimerHandle | None = None
    files: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while its files are read or written

    def enter(self, state: InstanceState, now: float) -> None:
        self.state, self.since = state, now
        if state is InstanceState.READY:
            self.ready_at = self.alive_at = now
        if state is InstanceState.FAILED:
            self.ready_at = self.active_tasks = None

    def failures(self) -> int:
        """Return the number of failures in a row up to now (B9)."""
        forgiven = self.ready_at is not None and self.alive_at - self.ready_at >= fresh_after(self.failure)
        return 0 if forgiven else self.earlier_failures

    def view(self, silent_before: float) -> Instance:
        """Return the instance to show. ``silent_before``: a worker whose last sign of life is older is silent (B15)."""
        ready = self.state is InstanceState.READY
        silent = Ailment.SILENT if ready and self.alive_at < silent_before else None
        runs = ready or self.state is InstanceState.STARTING
        return Instance(
            self.id,
            self.state,
            self.since,
            pid=self.process.pid if self.process else None,
            ready_at=self.ready_at,
            alive_at=self.alive_at if ready else None,
            ailment=silent or (ailment(self.status) if runs else None),
            active_tasks=self.active_tasks,
            status=self.status,
            failures=self.failures(),
            failure=self.failure,
            report=self.report,
        )

    def receive(self, fields: Mapping[str, str], now: float, at: float) -> None:
        """Apply a message's fields but READY and STOPPING. ``now`` is the loop's time, ``at`` the clock's."""
        if "STATUS" in fields:
            self.status = mask(fields["STATUS"])
            self.active_tasks = active_tasks(self.status)
        if fields.get("ERRNO", "").isdigit():
            self.errno = int(fields["ERRNO"])
        if self.state is not InstanceState.READY:
            self.deadline = max(self.deadline, now + microseconds(fields, "EXTEND_TIMEOUT_USEC"))
        elif fields.get("WATCHDOG") == "1":
            self.deadline, self.alive_at = now + self.allowed, at

    def left_as_asked(self, exit_status: int | None) -> bool:
        """Whether it ended because it was asked to, and not by a failure (B5, B7)."""
        return self.asked and (self.killed or exit_status in _CLEAN)

    def explain(
        self, exit_status: int | None, reported: Failure | None, *, memory: bool = False
    ) -> tuple[FailureKind, str]:
        """Return kind and summary of its failure; ``reported`` is the worker's own report, if it left one; ``memory``:
        the kernel has killed a process for lack of memory."""
        if self.verdict:
            return self.verdict
        if reported:
            return reported.kind, reported.summary
        if memory:
            return FailureKind.MEMORY, OUT_OF_MEMORY
        return FailureKind.CRASH, ending(exit_status, self.errno, self.asked)
