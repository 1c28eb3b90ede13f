"""A worker waits for trapd's word where its pool is set so, and not for ever."""

from __future__ import annotations

import pytest
from celery.exceptions import WorkerShutdown
from celery.worker import state

from trapd.worker import admission


def test_it_waits_until_trapd_lets_it_serve() -> None:
    answers = iter([False, False, True])
    admission.wait({"waits_to_serve": True}, lambda: next(answers))
    assert next(answers, None) is None


def test_elsewhere_nobody_waits() -> None:
    admission.wait({}, lambda: False)


def test_without_trapd_it_serves_in_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(admission, "PATIENCE", -1.0)
    admission.wait({"waits_to_serve": True}, lambda: False)
    assert "serving without its word" in "".join(capsys.readouterr())


def test_a_sigterm_ends_the_wait_and_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", 0)
    with pytest.raises(WorkerShutdown):
        admission.wait({"waits_to_serve": True}, lambda: False)
