"""What PID 1 says of a unit at one moment, and what it means. Pure.

Which state an instance is in (the job is the one that PID 1 has queued for the unit):

    active, reloading                       ready: the unit is Type=notify, so its main process said READY=1
    active, still with its start job        starting: the STATUS= that came with READY=1 is not told before the job ends
    activating                              starting; also while systemd waits to restart it by itself (auto-restart)
    deactivating                            draining, if it was told to stop and nothing went wrong; else stopping
    failed                                  failed
    failed or inactive, with a start job    starting
    inactive, with its stop job             draining: PID 1 takes the job away a moment after the state
    inactive                                absent
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trapd.backend.words import REFUSED, ending, last_status
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
    """One moment of a unit. Times in seconds of CLOCK_MONOTONIC, 0 for never."""

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
    code: int = 0  # how that ended: CLD_EXITED, CLD_KILLED, CLD_DUMPED
    status: int = 0  # with which exit status, or by which signal
    started: float = 0.0  # when that was started
    restarts: int = 0  # by systemd itself, since somebody last started it
    result: str = "success"
    errno: int = 0
    text: str = ""  # STATUS=

    @classmethod
    def read(cls, unit: Mapping[str, Any], service: Mapping[str, Any]) -> Facts:
        """From the properties of the object's interfaces Unit and Service; what is missing has its default."""
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
        """Its last run failed, and no other has begun."""
        return self.active == "failed" or self.sub == "auto-restart"

    @property
    def was_ready(self) -> bool:
        """The last run said READY."""
        return self.ready >= self.started > 0

    @property
    def draining(self) -> bool:
        """It was told to stop, or says that it does; nothing has gone wrong. Left children alone are not that."""
        return self.active == "deactivating" and self.result == "success" and bool(self.job or self.pid)

    @property
    def never_began(self) -> bool:
        """The last main process ended before it was a worker."""
        return self.code == _EXITED and (self.status == REFUSED or self.status in _SETUP)

    @property
    def exit_status(self) -> int | None:
        """Of the last main process; minus the signal's number if it was killed, None if it has not ended."""
        if not self.code:
            return None
        return self.status if self.code == _EXITED else -self.status


def state(facts: Facts, *, start_job: int = 0, stop_job: int = 0) -> InstanceState | None:
    """The table above. ``start_job``, ``stop_job``: numbers of the jobs that start and stop it, or did so last; PID 1
    shows the unit in its new state with the old job for a moment more."""
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
    """Kind and summary of the last run's failure; ``said`` is the worker's own account of it, if it left one."""
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
            return FailureKind.MEMORY, "was killed by the kernel: out of memory"
        case "start-limit-hit":
            return FailureKind.CRASH, "was started too often in too short a time"
        case "success" | "exit-code" | "signal" | "core-dump" | "protocol":
            return _how_it_ended(facts, reported, asked)
        case other:
            return FailureKind.CRASH, f"systemd could not run it: {other}"


def _how_it_ended(facts: Facts, reported: Failure | None, asked: bool) -> tuple[FailureKind, str]:
    if reported:
        return reported.kind, reported.summary
    if facts.code == _EXITED and facts.status in _SETUP:
        return FailureKind.CRASH, f"systemd could not run it: status {facts.status}/{_SETUP[facts.status]}"
    words = ending(facts.exit_status, facts.errno, asked)
    return FailureKind.CRASH, words + ("" if facts.was_ready or facts.result != "protocol" else " before it was ready")
