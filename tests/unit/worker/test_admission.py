"""A worker waits for trapd's word where its pool is set so, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery.exceptions import WorkerShutdown
from celery.worker import state

from trapd.worker import admission
from trapd.worker.job import Job


def test_it_waits_until_trapd_lets_it_serve() -> None:
    answers = iter([False, False, True])
    admission.wait(10.0, lambda: next(answers))
    assert next(answers, None) is None


def test_elsewhere_nobody_waits() -> None:
    admission.wait(0.0, lambda: pytest.fail("trapd is asked"))


@pytest.mark.parametrize(
    ("waits", "slot", "age", "seconds"),
    [
        ("hold", "7-3", 99_999.0, admission.PATIENCE),
        ("warn", "7-1", 5.0, admission.A_MOMENT),
        ("warn", "7-2", 5.0, 0.0),  # another one has told its tasks
        ("warn", "7-1", admission.NEW, 0.0),  # after a reboot, say, before trapd runs
        (None, "7-1", 5.0, 0.0),
    ],
)
def test_only_the_first_worker_of_a_new_generation_waits_where_nothing_is_held(
    waits: object, slot: str, age: float, seconds: float
) -> None:
    manifest = {"wall": 1000.0, "pools": {"p": {"on_missing_tasks": waits}}}
    job = Job("p", slot, Path("/generation"), Path("/runtime"), manifest)
    assert admission.patience(job, 1000.0 + age) == seconds


def test_without_trapd_it_serves_in_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    admission.wait(-1.0, lambda: False)
    assert "serving without its word" in "".join(capsys.readouterr())


def test_a_sigterm_ends_the_wait_and_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", 0)
    with pytest.raises(WorkerShutdown):
        admission.wait(10.0, lambda: False)
