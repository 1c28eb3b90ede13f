"""What a worker says of its code in a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trapd.backend.embedded.records import Records
from trapd.model import CodeReport, FailureKind, InstanceId
from trapd.worker import report
from trapd.worker.job import Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "instances").mkdir()
    manifest: dict[str, Any] = {
        "number": 7,
        "digest": "d7",
        "versions": {"hut": "1.4.0", "pytest": "0.0.1"},
        "watched": {"hut": ["hut"], "pytest": ["pytest"]},
        "import_path": ["code", "runtime"],
        "pools": {"default": {}},
    }
    return Job("default", "7-1", tmp_path / "7", tmp_path, manifest)


def test_the_report_tells_what_is_loaded_and_not_what_was_recorded(job: Job) -> None:
    found = report.code_report(job)
    assert found["versions"] == {"hut": "1.4.0", "pytest": pytest.__version__}
    assert f"pytest={pytest.__file__}" in found["strays"]  # it does not come from this snapshot
    assert (found["instance"], found["generation"], found["digest"]) == ("default@7-1", 7, "d7")


def test_the_backend_reads_what_the_worker_writes(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("hut")
    module.__file__ = "/site-packages/hut.py"
    monkeypatch.setitem(sys.modules, "hut", module)
    job.manifest["watched"] = {"hut": ["hut"]}
    report.write(job, report.code_report(job))
    records = Records(job.runtime, job.runtime)
    found = records.report(InstanceId("default", 7, 1), report.code_report(job)["pid"])
    assert found is not None
    assert found.code == CodeReport(7, "d7", {"hut": "1.4.0", "pytest": "0.0.1"}, ("hut=/site-packages/hut.py",))
    assert found.failure is None
    assert [path.name for path in (job.runtime / "instances").iterdir()] == ["default@7-1.json"]


def fail(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (ModuleNotFoundError("No module named 'x'"), "ModuleNotFoundError: No module named 'x'"),
        (ValueError("first line\nsecond line"), "ValueError: first line second line"),
        (AssertionError(), "AssertionError"),
        (SystemExit(3), "SystemExit: 3"),
        (report.ConfigurationError("cannot mix\nnames"), "cannot mix names"),
        (OSError("lost amqp://guest:hunter2@broker//"), "OSError: lost amqp://guest:***@broker//"),
    ],
)
def test_a_failure_is_told_in_one_line_and_in_full(job: Job, error: BaseException, summary: str) -> None:
    failure = report.failure_report(job, fail(error))["failure"]
    assert (FailureKind(failure["kind"]), failure["summary"]) == (FailureKind.CODE, summary)
    assert "Traceback" in failure["detail"]
    assert "raise error" in failure["detail"]
    assert "hunter2" not in failure["detail"]


def test_a_traceback_begins_where_our_own_code_ends(job: Job) -> None:
    code = compile("def call(function):\n    function()\n", str(Path(report.__file__).with_name("entry.py")), "exec")
    inner: dict[str, Any] = {}
    exec(code, inner)

    def of_the_application() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong") as caught:
        inner["call"](of_the_application)
    trace = caught.value.__traceback__
    assert trace is not None
    caught.value.__traceback__ = trace.tb_next  # what the worker's own line would see
    detail = report.failure_report(job, caught.value)["failure"]["detail"]
    assert "of_the_application" in detail
    assert "entry.py" not in detail


def test_a_report_that_cannot_be_written_is_told_and_does_no_harm(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    (job.runtime / "instances").rmdir()
    report.write(job, report.code_report(job))
    assert "cannot write" in capsys.readouterr().err


def test_a_report_is_plain_json(job: Job) -> None:
    assert json.loads(json.dumps(report.code_report(job)))["schema"] == 1


def test_a_child_that_code_forks_at_its_import_does_not_report_for_the_worker(job: Job) -> None:
    report.write(job, {"pid": "the worker's"})
    if (child := os.fork()) == 0:
        report.write(job, {"pid": "the child's"})
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(job.report_file.read_text()) == {"pid": "the worker's"}
