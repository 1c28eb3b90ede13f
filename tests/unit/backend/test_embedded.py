"""The parts of the embedded backend that need no process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from trapd.backend.embedded import records as records_module
from trapd.backend.embedded.notify import microseconds, parse
from trapd.backend.embedded.records import Records
from trapd.backend.embedded.run import Run
from trapd.backend.words import LAST_LINES
from trapd.environment import of_child
from trapd.model import Failure, FailureKind, InstanceId, InstanceState

ONE = InstanceId("default", 7, 1)


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"READY=1", {"READY": "1"}),
        (b"READY=1\nSTATUS=a=b, 2 active\n", {"READY": "1", "STATUS": "a=b, 2 active"}),
        (b"READY\n=1\n\n", {}),
        (b"STATUS=\xff", {"STATUS": "�"}),
        (b"", {}),
    ],
)
def test_a_message_is_its_fields_and_what_is_no_field_is_dropped(data: bytes, fields: dict[str, str]) -> None:
    assert parse(data) == fields


@pytest.mark.parametrize(("value", "seconds"), [("1500000", 1.5), ("", 0.0), ("-1", 0.0), ("soon", 0.0), ("²", 0.0)])
def test_a_time_that_is_no_number_prolongs_nothing(value: str, seconds: float) -> None:
    assert microseconds({"EXTEND_TIMEOUT_USEC": value}, "EXTEND_TIMEOUT_USEC") == seconds


def test_of_a_log_the_last_lines_are_told(tmp_path: Path) -> None:
    records = Records(tmp_path, tmp_path)
    assert records.last_words(ONE) == ""
    (tmp_path / "default@7-1.log").write_text("".join(f"line {number}\n" for number in range(50000)))
    words = records.last_words(ONE).splitlines()
    assert (len(words), words[-1]) == (LAST_LINES, "line 49999")


def test_files_that_cannot_be_removed_do_not_keep_a_dead_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    Records(tmp_path, tmp_path).remove(ONE)
    assert "cannot remove what default@7-1 left" in caplog.text


def test_of_a_log_that_ends_with_a_python_stack_the_whole_stack_is_told(tmp_path: Path) -> None:
    stack = ["Fatal Python error: Aborted", "", "Current thread:", *(f"  File x.py, line {n}" for n in range(40))]
    (tmp_path / "default@7-1.log").write_text("\n".join(["before"] * 9 + stack))
    assert Records(tmp_path, tmp_path).last_words(ONE).splitlines() == stack


REPORT = {"pid": 5, "generation": 7, "digest": "d", "versions": {"trap": "1.4.0"}, "strays": ["a=b"], "failure": None}


def test_a_report_is_read(tmp_path: Path) -> None:
    records = Records(tmp_path, tmp_path)
    records.make_folders()
    failure = {"kind": "code", "summary": "OSError: redis://:x@h", "detail": "Traceback"}
    (tmp_path / "instances" / "default@7-1.json").write_text(json.dumps({**REPORT, "failure": failure}))
    report = records.report(ONE, 5)
    assert report is not None
    assert (report.code.generation, report.code.versions, report.code.mixed) == (7, {"trap": "1.4.0"}, True)
    assert report.failure == Failure(FailureKind.CODE, "OSError: redis://:***@h", "Traceback", 0.0)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"pid": 5}', json.dumps({**REPORT, "pid": 6}), json.dumps({**REPORT, "failure": 3})],
)
def test_what_is_no_report_of_this_process_is_none(tmp_path: Path, text: str) -> None:
    records = Records(tmp_path, tmp_path)
    records.make_folders()
    (tmp_path / "instances" / "default@7-1.json").write_text(text)
    assert records.report(ONE, 5) is None


def test_no_more_than_a_hundred_logs_are_kept_and_those_of_running_workers(tmp_path: Path) -> None:
    for number in range(120):
        path = tmp_path / f"default@{number}-1.log"
        path.touch()
        os.utime(path, (number, number))
    records = Records(tmp_path, tmp_path)
    os.close(records.open_log(InstanceId("default", 200, 1), running={"default@3-1"}))
    left = {path.name for path in tmp_path.glob("*.log")}
    assert left == {f"default@{number}-1.log" for number in (3, *range(20, 120), 200)}


def test_a_worker_starts_without_a_log_if_there_can_be_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").touch()
    output = Records(tmp_path / "run", tmp_path / "logs").open_log(ONE)
    os.write(output, b"lost")
    os.close(output)
    assert f"cannot log what default@7-1 prints: {tmp_path}/logs: file exists" in caplog.text


def test_a_log_that_has_grown_too_long_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "LOG_LIMIT", 10)
    records = Records(tmp_path, tmp_path)
    records.trim_log(ONE)
    log = records.open_log(ONE)
    os.write(log, b"0123456789")
    records.trim_log(ONE)
    assert (tmp_path / "default@7-1.log").stat().st_size == 10
    os.write(log, b"X")
    records.trim_log(ONE)
    os.write(log, b"new")
    os.close(log)
    assert (tmp_path / "default@7-1.log").read_text() == "new"
    assert (tmp_path / "default@7-1.log.1").read_text() == "0123456789X"


def test_a_long_log_that_cannot_be_copied_grows_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, say. It once ended the reading of the report that came with the same status."""
    monkeypatch.setattr(records_module, "LOG_LIMIT", 10)
    (tmp_path / "default@7-1.log").write_text("0123456789X")
    (tmp_path / "default@7-1.log.1").mkdir()
    Records(tmp_path, tmp_path).trim_log(ONE)
    assert (tmp_path / "default@7-1.log").read_text() == "0123456789X"


@pytest.mark.parametrize("text", ["", "x y\n", "4194305 1\n", "-1 1\n", "1\n"])
def test_a_note_that_leads_to_no_process_is_removed(tmp_path: Path, text: str) -> None:
    records = Records(tmp_path, tmp_path)
    records.make_folders()
    (tmp_path / "instances" / "default@7-1.pid").write_text(text)
    assert list(records.adopt()) == []
    assert list((tmp_path / "instances").iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "killed", "exit_status", "peace"),
    [
        (True, False, 0, True),
        (True, False, -signal.SIGTERM, True),  # told to go while it was still importing
        (True, False, None, True),  # not our child: how it ended is not known
        (True, False, 1, False),
        (True, False, -signal.SIGSEGV, False),
        (True, True, -signal.SIGKILL, True),
        (False, False, 0, False),
        (False, True, -signal.SIGKILL, False),
    ],
)
def test_what_end_is_a_failure(asked: bool, killed: bool, exit_status: int | None, peace: bool) -> None:
    assert Run(ONE, 0.0, asked=asked, killed=killed).left_as_asked(exit_status) is peace


@pytest.mark.parametrize(
    ("exit_status", "number", "summary"),
    [
        (1, "", "exited with status 1"),
        (0, "", "exited with status 0 without being asked to"),
        (-64, "", "was killed by SIGRTMAX"),
        (-50, "", "was killed by signal 50"),
        (1, "13", "exited with status 1 (EACCES)"),
    ],
)
def test_an_end_is_told_in_words(exit_status: int, number: str, summary: str) -> None:
    run = Run(ONE, 0.0)
    run.receive({"ERRNO": number}, 0.0, 60.0)
    assert run.explain(exit_status, None) == (FailureKind.CRASH, summary)


def test_our_own_verdict_comes_before_what_the_worker_says() -> None:
    said = Failure(FailureKind.CODE, "SystemExit: 1", "", 0.0)
    run = Run(ONE, 0.0, verdict=(FailureKind.TIMEOUT, "did not send READY within 3 s"))
    assert run.explain(70, said) == (FailureKind.TIMEOUT, "did not send READY within 3 s")
    assert Run(ONE, 0.0).explain(70, said) == (FailureKind.CODE, "SystemExit: 1")


def test_a_status_without_a_count_makes_the_count_unknown() -> None:
    run = Run(ONE, 0.0)
    run.receive({"STATUS": "ready, 12 active, 3 reserved"}, 0.0, 60.0)
    assert run.view(0.0).active_tasks == 12
    run.receive({"STATUS": "importing"}, 0.0, 60.0)
    assert run.view(0.0).active_tasks is None


def test_signs_of_life_count_only_in_ready_and_extensions_only_before_and_after() -> None:
    run = Run(ONE, 0.0, deadline=5.0)
    run.receive({"WATCHDOG": "1"}, 4.0, 1004.0)
    assert run.deadline == 5.0
    run.receive({"EXTEND_TIMEOUT_USEC": "3000000"}, 4.0, 1004.0)
    assert run.deadline == 7.0
    run.enter(InstanceState.READY, 1006.0)
    run.allowed = 60.0
    run.receive({"EXTEND_TIMEOUT_USEC": "99000000"}, 6.0, 1006.0)
    assert run.deadline == 7.0
    run.receive({"WATCHDOG": "1"}, 8.0, 1008.0)
    assert (run.deadline, run.alive_at) == (68.0, 1008.0)
    run.enter(InstanceState.DRAINING, 1009.0)
    run.receive({"WATCHDOG": "1", "EXTEND_TIMEOUT_USEC": "70000000"}, 9.0, 1009.0)
    assert run.deadline == 79.0


def test_without_a_watchdog_a_worker_is_told_of_none() -> None:
    assert "WATCHDOG_USEC" not in of_child({"WATCHDOG_USEC": "1"}, Path("/n"), 0)
    assert of_child({"A": "b"}, Path("/n"), 1.5)["WATCHDOG_USEC"] == "1500000"


def test_the_last_words_are_the_whole_of_a_traceback_whose_message_is_long(tmp_path: Path) -> None:
    message = [
        "pydantic.ValidationError: 40 validation errors",
        *(f"  setting {number} is missing" for number in range(40)),
    ]
    trace = ["Traceback (most recent call last):", '  File "jobs.py", line 3', *message]
    (tmp_path / f"{ONE.name}.log").write_text("\n".join(["before", *trace]))
    assert Records(tmp_path, tmp_path).last_words(ONE).splitlines()[-len(trace) :] == trace
