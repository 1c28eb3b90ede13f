"""The submitter: how many at a time, what it hands out, and the eager way."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import (
    SoftTimeLimitExceeded,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from kombu.exceptions import OperationalError

from tests.support.fake_celery import FakeApp, RedisError
from trapd.distribute import ledger, submit


def good(path: str) -> dict[str, object]:
    return {"image": path, "error": None, "sources": [1, 2]}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock takes a second."""
    now = iter(range(1000))
    monkeypatch.setattr(
        submit, "time", SimpleNamespace(monotonic=lambda: next(now), time=lambda: 0, sleep=lambda _: None)
    )


def extract(app: FakeApp, images: list[str], **options: Any) -> list[submit.Answer]:
    return list(submit.extract(app, images, **options))


def test_each_image_is_answered_once_and_its_result_removed() -> None:
    app = FakeApp(good)
    answers = extract(app, ["/a", "/b", "/c"])
    assert [(answer.image, answer.error, answer.result) for answer in answers] == [
        (path, "", good(path)) for path in ("/a", "/b", "/c")
    ]
    assert all(result.forgotten for result in app.results)
    assert all(answer.answered >= answer.sent for answer in answers)


def test_paths_are_sent_whole_and_answered_as_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    app = FakeApp(good)
    (answer,) = extract(app, ["a.fits"], options={"margin": 3})
    assert app.sent == [("trapd.distribute.extract_sources", (str(tmp_path / "a.fits"),), {"margin": 3})]
    assert answer.image == "a.fits"


def test_no_more_than_so_many_are_unanswered_at_a_time() -> None:
    app, most = FakeApp(good), []
    extract(app, [str(n) for n in range(10)], in_flight=3, progress=lambda sent, answered: most.append(sent - answered))
    assert max(most) == 3
    assert most[-1] == 0


def test_a_bad_image_is_an_answer_with_its_error() -> None:
    app = FakeApp(lambda path: good(path) | {"error": "cannot read it", "sources": []})
    (answer,) = extract(app, ["/a"])
    assert answer.error == "cannot read it"
    assert answer.fault == "image"
    assert answer.result is not None


def test_a_failed_task_is_an_answer_without_a_result() -> None:
    (answer,) = extract(FakeApp(lambda path: ValueError("no such table")), ["/a"])
    assert (answer.result, answer.error) == (None, "cannot process /a: ValueError: no such table")
    assert (answer.fault, answer.attempts) == ("machine", 1)


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(WorkerLostError("signal 9 (SIGKILL)"), id="a process was killed"),
        pytest.param(OperationalError("[Errno 111] Connection refused"), id="the broker was away at the task's end"),
        pytest.param(SoftTimeLimitExceeded(), id="drain_timeout of its worker, or a soft time limit"),
        pytest.param(TimeLimitExceeded(60), id="a time limit"),
        pytest.param(Terminated("15"), id="a process was terminated"),
        pytest.param({"error": "cannot read /a: Stale file handle", "machine": True}, id="a file server failed"),
    ],
)
def test_an_image_that_a_machine_failed_on_is_sent_again(lost: object) -> None:
    outcomes: deque[object] = deque([lost, good("/a")])
    app = FakeApp(lambda path: outcomes.popleft())
    (answer,) = extract(app, ["/a"])
    assert (answer.error, answer.fault, answer.attempts) == ("", "", 2)
    assert len(set(app.ids)) == 2, "the first task has failed; who knows its id would hear so"
    assert all(result.forgotten for result in app.results)


def test_an_image_that_each_machine_fails_on_is_given_up_and_not_called_bad() -> None:
    words = "cannot extract sources from /a: MemoryError: too large"
    app = FakeApp(lambda path: good(path) | {"error": words, "machine": True})
    (answer,) = extract(app, ["/a"])
    assert (answer.error, answer.fault, answer.attempts, len(app.sent)) == (words, "machine", 3, 3)
    assert answer.result is not None


def test_a_task_that_somebody_revoked_is_not_sent_again() -> None:
    app = FakeApp(lambda path: TaskRevokedError("terminated"))
    (answer,) = extract(app, ["/a"])
    assert (answer.error, answer.attempts) == ("cannot process /a: TaskRevokedError: terminated", 1)


def test_an_image_that_kills_each_process_is_given_up_and_not_called_bad() -> None:
    app = FakeApp(lambda path: WorkerLostError("signal 9 (SIGKILL)"))
    (answer,) = extract(app, ["/a"])
    assert (answer.fault, answer.attempts, len(app.sent)) == ("machine", 3, 3)
    assert answer.error == "cannot process /a: WorkerLostError: signal 9 (SIGKILL); it was sent 3 times"


def test_whoever_stops_revokes_what_waits_and_removes_the_results() -> None:
    app = FakeApp(good)

    def none_but_the_first(sent: int, answered: int) -> None:
        if sent > 1:
            app.results[-1].looks = deque([False, False, True])  # a worker discards it, and says so

    answers = submit.extract(app, ["/a", "/b", "/c"], progress=none_but_the_first)
    assert next(answers).image == "/a"
    answers.close()  # type: ignore[attr-defined]
    assert app.revoked == ["1", "2"]
    assert all(result.forgotten for result in app.results)


def test_a_submitter_that_stops_does_not_wait_for_ever(clock: None) -> None:
    app = FakeApp(good)
    submitter = submit.Submitter(app)
    submitter.send("/a")
    app.results[0].looks = deque([False])
    assert submitter.withdraw(linger=5) == 1
    assert app.results[0].forgotten


def test_a_submitter_that_stops_without_a_broker_says_so_and_raises_nothing(
    clock: None, caplog: pytest.LogCaptureFixture
) -> None:
    """What was to be told is why it stops."""
    app = FakeApp(good)
    submitter = submit.Submitter(app)
    submitter.send("/a")
    app.results[0].looks = deque([RedisError("connection refused")])
    assert submitter.withdraw(linger=5) == 1
    assert submitter.waiting == 0
    assert caplog.messages == ["cannot remove the results of 1 image: connection refused"]


def test_one_lost_answer_does_not_hold_up_the_run(clock: None) -> None:
    app = FakeApp(good)

    def first_is_lost(sent: int, answered: int) -> None:
        for result in app.results:
            if result.id == "0":
                result.looks = deque([False])

    answers = extract(app, ["/a", "/b"], patience=20, progress=first_is_lost)
    assert [answer.image for answer in answers] == ["/b", "/a"]
    assert answers[1].error == "cannot process /a: it was sent 3 times and no answer came"
    assert (answers[1].fault, app.revoked) == ("machine", ["0"])


def test_a_half_written_result_is_read_again_later() -> None:
    app = FakeApp(good)
    submitter = submit.Submitter(app)
    submitter.send("/a")
    app.results[0].looks.extend([ValueError("Unterminated string"), True])
    app.results[0].looks.popleft()
    assert submitter.gather(0) == []
    assert submitter.waiting == 1
    assert [answer.image for answer in submitter.gather(0)] == ["/a"]


def test_patience_ends_with_words(clock: None) -> None:
    app = FakeApp(good)

    def never(sent: int, answered: int) -> None:
        app.results[-1].looks = deque([False])

    with pytest.raises(TimeoutError, match="cannot go on: no answer for 60 s, 2 images unanswered; see with `trapctl"):
        extract(app, ["/a", "/b"], patience=20, progress=never)
    assert app.ids == ["0", "1"] * submit.ATTEMPTS
    assert sorted(app.revoked) == ["0", "1"]


def test_with_always_eager_the_images_are_processed_in_this_process(app: Celery, tmp_path: Path) -> None:
    image = tmp_path / "a.fits"
    image.write_text("0.5 0.7")
    answers = list(submit.extract(app, [str(image), str(tmp_path / "none")]))
    assert [len(answer.result["sources"]) for answer in answers if answer.result] == [2, 0]
    assert "cannot read" in answers[1].error
    assert {run.pid for run in ledger.read((tmp_path / "ledger").read_text().splitlines())} == {os.getpid()}
