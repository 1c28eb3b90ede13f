"""What PID 1's words mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trapd.backend.systemd.facts import Facts, explain, state
from trapd.model import Failure, FailureKind, InstanceState

S = InstanceState
RAN = Facts(active="failed", sub="failed", started=10.0, ready=11.0, ended=20.0, result="exit-code", code=1, status=1)
SAID = Failure(FailureKind.CODE, "ImportError: no x", "Traceback", 0.0)


def test_properties_are_read_in_seconds_and_plain_values() -> None:
    unit: dict[str, object] = {
        "ActiveState": "active",
        "SubState": "running",
        "Job": (7, "/job/7"),
        "InvocationID": b"\x0a\xff",
    }
    unit |= {"ActiveEnterTimestampMonotonic": 11_500_000, "InactiveExitTimestampMonotonic": 10_000_000}
    service = {"MainPID": 5, "ExecMainStartTimestampMonotonic": 10_000_000, "StatusText": "ready", "NRestarts": 2}
    facts = Facts.read(unit, service)
    assert (facts.active, facts.job, facts.invocation, facts.pid, facts.text) == ("active", 7, "0aff", 5, "ready")
    assert (facts.began, facts.ready, facts.started, facts.restarts, facts.was_ready) == (10.0, 11.5, 10.0, 2, True)


def test_an_invocation_may_come_as_a_list_of_numbers() -> None:
    assert Facts.read({"InvocationID": [10, 255]}, {}).invocation == "0aff"


def test_nothing_known_is_an_absent_unit() -> None:
    assert Facts.read({}, {}) == Facts()
    assert state(Facts()) is None


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts("inactive", "dead", job=3), S.STARTING),
        (Facts("activating", "start", job=3, pid=5), S.STARTING),
        (Facts("activating", "start-post", job=3, pid=5), S.STARTING),
        (Facts("activating", "auto-restart"), S.STARTING),
        (Facts("active", "running", job=1, pid=5), S.STARTING),  # its start job
        (Facts("active", "running", pid=5), S.READY),
        (Facts("active", "running", job=2, pid=5), S.READY),  # a stop that has not begun
        (Facts("reloading", "reload", pid=5), S.READY),
        (Facts("deactivating", "stop-sigterm", job=2, pid=5), S.DRAINING),
        (Facts("deactivating", "stop-sigterm", pid=5), S.DRAINING),  # it said STOPPING=1 by itself
        (Facts("deactivating", "stop-sigterm", job=2), S.DRAINING),  # B4: until it is gone, its children too
        (Facts("deactivating", "final-sigterm", job=2), S.DRAINING),  # likewise
        (Facts("deactivating", "stop-sigterm"), S.STOPPING),  # it left by itself, its children did not
        (Facts("deactivating", "stop-sigterm", pid=5, result="timeout"), S.STOPPING),  # it did not start in time
        (Facts("deactivating", "stop-watchdog", pid=5, result="watchdog"), S.STOPPING),
        (Facts("deactivating", "stop-sigkill", job=2, pid=5, result="timeout"), S.STOPPING),
        (Facts("deactivating", "final-sigkill"), S.STOPPING),
        (Facts("failed", "failed"), S.FAILED),
        (Facts("failed", "failed", job=2), S.FAILED),  # the stop's job, for a moment more
        (Facts("failed", "failed", job=3), S.STARTING),
        (Facts("inactive", "dead", job=2), S.DRAINING),  # likewise, or the middle of a restart
        (Facts("inactive", "dead"), None),
        (Facts("maintenance", "dead"), None),
    ],
)
def test_every_state_of_a_unit_is_one_of_an_instance(facts: Facts, expected: InstanceState | None) -> None:
    assert state(facts, start_job=1, stop_job=2) is expected


@pytest.mark.parametrize(
    ("facts", "kind", "summary"),
    [
        ({}, FailureKind.CRASH, "exited with status 1"),
        ({"errno": 13}, FailureKind.CRASH, "exited with status 1 (EACCES)"),
        ({"result": "timeout", "ready": 0.0}, FailureKind.TIMEOUT, "did not send READY within 10 s"),
        ({"result": "timeout", "ready": 3.0}, FailureKind.TIMEOUT, "did not send READY within 10 s"),  # of a run before
        (
            {"result": "timeout"},
            FailureKind.CRASH,
            "was ended by systemd: no sign of life in its time to stop",
        ),
        ({"result": "watchdog"}, FailureKind.WATCHDOG, "its main loop stopped turning: no sign of life in time"),
        (
            {"result": "watchdog", "text": "stalled"},
            FailureKind.WATCHDOG,
            "its main loop stopped turning: no sign of life in time; its last status: stalled",
        ),
        ({"result": "oom-kill"}, FailureKind.MEMORY, "was killed by the kernel: out of memory"),
        ({"result": "signal", "code": 2, "status": 11}, FailureKind.CRASH, "was killed by SIGSEGV"),
        ({"result": "core-dump", "code": 3, "status": 6}, FailureKind.CRASH, "was killed by SIGABRT"),
        (
            {"result": "signal", "code": 2, "status": 9},
            FailureKind.CRASH,
            "was killed by SIGKILL, not by trapd: out of memory?",
        ),
        ({"status": 203}, FailureKind.CRASH, "systemd could not run it: status 203/EXEC"),
        ({"result": "resources"}, FailureKind.CRASH, "systemd could not run it: resources"),
        ({"result": "start-limit-hit"}, FailureKind.CRASH, "was started too often in too short a time"),
        (
            {"result": "protocol", "status": 0, "ready": 0.0},
            FailureKind.CRASH,
            "exited with status 0 without being asked to before it was ready",
        ),
        (
            {"result": "success", "status": 0},
            FailureKind.CRASH,
            "exited with status 0 without being asked to",
        ),
    ],
)
def test_an_end_is_told_in_words(facts: dict[str, Any], kind: FailureKind, summary: str) -> None:
    assert explain(replace(RAN, **facts), None, asked=False, killed=False) == (kind, summary)


def test_the_workers_own_words_come_before_its_exit_status_but_after_systemds_verdict() -> None:
    assert explain(RAN, SAID, asked=False, killed=False) == (FailureKind.CODE, "ImportError: no x")
    late = replace(RAN, result="timeout", ready=0.0)
    assert explain(late, SAID, asked=False, killed=False)[0] is FailureKind.TIMEOUT


def test_one_that_we_killed_was_killed_unless_systemd_had_given_it_up_before() -> None:
    shot = replace(RAN, result="signal", code=2, status=9)
    assert explain(shot, SAID, asked=True, killed=True) == (FailureKind.CRASH, "killed")
    assert explain(replace(RAN, result="watchdog"), None, asked=False, killed=True)[0] is FailureKind.WATCHDOG


def test_one_that_was_asked_to_leave_is_not_said_to_have_left_unasked() -> None:
    assert explain(replace(RAN, status=0), None, asked=True, killed=False)[1] == "exited with status 0"
