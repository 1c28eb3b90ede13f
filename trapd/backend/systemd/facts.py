"""The properties of a unit at one moment, and the state of the instance that they mean. Pure.

State of the unit (the job is the one that PID 1 has queued for the unit), and state of the instance:

    active, reloading                       ready: the unit is Type=notify, so its main process sent READY=1
    active, still with its start job        starting: PID 1 does not show the STATUS= of READY=1 before the job ends
    activating                              starting; also while systemd waits to restart it by itself (auto-restart)
    deactivating                            draining, if it was asked to stop and nothing went wrong; else stopping
    failed                                  failed
    failed or inactive, with a start job    starting
    inactive, with its stop job             draining: PID 1 removes the job a moment after the state has changed
    inactive                                absent
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trapd.backend.words import OUT_OF_MEMORY, REFUSED, ending, last_status
from trapd.model import Failure, FailureKind, InstanceState

SERVICE_PROPERTIES = (
    "MainPID",
    "ExecMainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "NRestarts",
    "Result",
    "StatusErrno",
    "StatusText",
)
_EXITED = 1  # CLD_EXITED
# systemd.exec(5), "Process exit codes": systemd itself ended the process before it ran the worker's program.
_SETUP = {200: "CHDIR", 202: "FDS", 203: "EXEC", 204: "MEMORY", 205: "LIMITS", 208: "STDIN", 209: "STDOUT"}
_SETUP |= {210: "CHROOT", 214: "SETSCHEDULER", 216: "GROUP", 217: "USER", 218: "CAPABILITIES", 219: "CGROUP"}
_SETUP |= {222: "STDERR", 224: "PAM", 225: "NETWORK", 226: "NAMESPACE", 227: "NO_NEW_PRIVILEGES", 228: "SECCOMP"}
_SETUP |= {233: "RUNTIME_DIRECTORY", 238: "STATE_DIRECTORY", 239: "CACHE_DIRECTORY", 240: "LOGS_DIRECTORY"}
_SETUP |= {243: "CREDENTIALS"}


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of a unit at one moment. Times in seconds of CLOCK_MONOTONIC, 0 for never."""

    active: str = "inactive"  # ActiveState
    sub: str = "dead"  # SubState
    job: int = 0  # the queued job's number, 0 for none
    invocation: str = ""  # names one run, in hex
    changed: float = 0.0  # StateChangeTimestamp
    began: float = 0.0  # InactiveExitTimestamp
    ready: float = 0.0  # ActiveEnterTimestamp, of this run or of an earlier one
    ended: float = 0.0  # InactiveEnterTimestamp, likewise
    pid: int = 0  # of the main process, 0 if there is none
    last_pid: int = 0  # of the last main process
    code: int = 0  # how the last main process ended: CLD_EXITED, CLD_KILLED, CLD_DUMPED
    status: int = 0  # its exit status, or the signal that ended it
    started: float = 0.0  # when the last main process was started
    restarts: int = 0  # by systemd itself, since the last start by a command
    result: str = "success"
    errno: int = 0
    text: str = ""  # STATUS=

    @classmethod
    def read(cls, unit: Mapping[str, Any], service: Mapping[str, Any]) -> Facts:
        """Make the facts from the properties of the object's interfaces Unit and Service; a missing property has its
        default."""
        return cls(
            active=unit.get("ActiveState", "inactive"),
            sub=unit.get("SubState", "dead"),
            job=unit.get("Job", (0,))[0],
            invocation=bytes(unit.get("InvocationID", b"")).hex(),
            changed=unit.get("StateChangeTimestampMonotonic", 0) / 1e6,
            began=unit.get("InactiveExitTimestampMonotonic", 0) / 1e6,
            ready=unit.get("ActiveEnterTimestampMonotonic", 0) / 1e6,
            ended=unit.get("InactiveEnterTimestampMonotonic", 0) / 1e6,
            pid=service.get("MainPID", 0),
            last_pid=service.get("ExecMainPID", 0),
            code=service.get("ExecMainCode", 0),
            status=service.get("ExecMainStatus", 0),
            started=service.get("ExecMainStartTimestampMonotonic", 0) / 1e6,
            restarts=service.get("NRestarts", 0),
            result=service.get("Result", "success"),
            errno=service.get("StatusErrno", 0),
            text=service.get("StatusText", ""),
        )

    @property
    def failing(self) -> bool:
        """Whether its last run failed, and no other run has begun."""
        return self.active == "failed" or self.sub == "auto-restart"

    @property
    def was_ready(self) -> bool:
        """Whether the last run sent READY."""
        return self.ready >= self.started > 0

    @property
    def draining(self) -> bool:
        """Whether it was asked to stop, or has sent STOPPING, and nothing has gone wrong. A unit of which only children
        are left does not drain."""
        return self.active == "deactivating" and self.result == "success" and bool(self.job or self.pid)

    @property
    def never_began(self) -> bool:
        """Whether the last main process ended before it was a worker."""
        return self.code == _EXITED and (self.status == REFUSED or self.status in _SETUP)

    @property
    def exit_status(self) -> int | None:
        """The exit status of the last main process; minus the signal's number if it was killed, None if it has not
        ended."""
        if not self.code:
            return None
        return self.status if self.code == _EXITED else -self.status


def state(facts: Facts, *, start_job: int = 0, stop_job: int = 0) -> InstanceState | None:
    """Return the instance's state, by the table above; None if it is absent. ``start_job``, ``stop_job``: the last jobs
    that started and stopped the unit; PID 1 shows the new state with the old job for a moment."""
    match facts.active:
        case "active" | "reloading" | "refreshing":
            begins = facts.job and facts.job == start_job
            return InstanceState.STARTING if begins else InstanceState.READY
        case "activating":
            return InstanceState.STARTING
        case "deactivating":
            return InstanceState.DRAINING if facts.draining else InstanceState.STOPPING
        case _:
            if facts.job and facts.job != stop_job:
                return InstanceState.STARTING
            if facts.active == "failed":
                return InstanceState.FAILED
            return InstanceState.DRAINING if facts.job else None  # a stop that ends, or the middle of a restart


def explain(facts: Facts, reported: Failure | None, *, asked: bool, killed: bool) -> tuple[FailureKind, str]:
    """Return kind and summary of the last run's failure; ``reported`` is the worker's own report of it, if it left
    one."""
    match facts.result:
        case "timeout" if not facts.was_ready:
            took = f"{facts.ended - facts.started:.3g} s{last_status(facts.text)}"
            return FailureKind.TIMEOUT, f"did not send READY within {took}"
        case "watchdog":
            stood = f"no sign of life in time{last_status(facts.text)}"
            return FailureKind.WATCHDOG, f"its main loop stopped turning: {stood}"
        case _ if killed:
            return FailureKind.CRASH, "killed"
        case "timeout":
            return FailureKind.CRASH, "was ended by systemd: no sign of life in its time to stop"
        case "oom-kill":
            return FailureKind.MEMORY, OUT_OF_MEMORY
        case "start-limit-hit":
            return FailureKind.CRASH, "was started too often in too short a time"
        case "success" | "exit-code" | "signal" | "core-dump" | "protocol":
            return _how_it_ended(facts, reported, asked)
        case other:
            return FailureKind.CRASH, f"systemd could not run it: {other}"


def may_be_memory(facts: Facts) -> bool:
    """Was the main process killed by a SIGKILL that the unit's result does not explain? With OOMPolicy=continue the
    result is "signal" also where the kernel had no memory, and the journal alone says so."""
    return facts.result == "signal" and facts.exit_status == -signal.SIGKILL


def _how_it_ended(facts: Facts, reported: Failure | None, asked: bool) -> tuple[FailureKind, str]:
    if reported:
        return reported.kind, reported.summary
    if facts.code == _EXITED and facts.status in _SETUP:
        return FailureKind.CRASH, f"systemd could not run it: status {facts.status}/{_SETUP[facts.status]}"
    words = ending(facts.exit_status, facts.errno, asked)
    return FailureKind.CRASH, words + ("" if facts.was_ready or facts.result != "protocol" else " before it was ready")
