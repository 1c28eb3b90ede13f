"""The submitter: how many at a time, what it hands out, and the eager way."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from trapd.distribute import ledger, submit


class FakeResult:
    """A result that is there when the test says so, or not readable yet."""

    def __init__(self, id: str, value: object) -> None:
        self.id, self.result = id, value
        self.looks: deque[bool | Exception] = deque([True])
        self.forgotten = False

    def ready(self) -> bool:
        look = self.looks.popleft() if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def successful(self) -> bool:
        return not isinstance(self.result, Exception)

    def forget(self) -> None:
        self.forgotten = True


class FakeApp:
    """A Celery application whose tasks are done at once, with what ``answer`` makes of the path."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        self.conf = SimpleNamespace(task_always_eager=False)
        self.backend = SimpleNamespace(is_async=False, add_pending_result=lambda result: None)
        self.answer = answer
        self.results: list[FakeResult] = []
        self.sent: list[tuple[str, tuple[str, ...], dict[str, Any]]] = []

    def signature(self, name: str, args: tuple[str, ...], kwargs: dict[str, Any]) -> Any:
        def apply_async() -> FakeResult:
            self.sent.append((name, args, kwargs))
            self.results.append(FakeResult(str(len(self.results)), self.answer(args[0])))
            return self.results[-1]

        return SimpleNamespace(apply_async=apply_async)


def good(path: str) -> dict[str, object]:
    return {"image": path, "error": None, "sources": [1, 2]}


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
    assert answer.result is not None


def test_a_failed_task_is_an_answer_without_a_result() -> None:
    (answer,) = extract(FakeApp(lambda path: ValueError("no such table")), ["/a"])
    assert (answer.result, answer.error) == (None, "cannot process /a: ValueError: no such table")


def test_a_half_written_result_is_read_again_later() -> None:
    app = FakeApp(good)
    submitter = submit.Submitter(app)
    submitter.send("/a")
    app.results[0].looks.extend([ValueError("Unterminated string"), True])
    app.results[0].looks.popleft()
    assert submitter.gather(0) == []
    assert submitter.waiting == 1
    assert [answer.image for answer in submitter.gather(0)] == ["/a"]


def test_patience_ends_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr(
        submit, "time", SimpleNamespace(monotonic=lambda: next(now), time=lambda: 0, sleep=lambda _: None)
    )
    app = FakeApp(good)

    def never(sent: int, answered: int) -> None:
        app.results[-1].looks = deque([False])

    with pytest.raises(TimeoutError, match="cannot go on: no answer for 20 s, 2 images unanswered"):
        extract(app, ["/a", "/b"], patience=20, progress=never)


def test_with_always_eager_the_images_are_processed_in_this_process(app: Celery, tmp_path: Path) -> None:
    image = tmp_path / "a.fits"
    image.write_text("0.5 0.7")
    answers = list(submit.extract(app, [str(image), str(tmp_path / "none")]))
    assert [len(answer.result["sources"]) for answer in answers if answer.result] == [2, 0]
    assert "cannot read" in answers[1].error
    assert {run.pid for run in ledger.read((tmp_path / "ledger").read_text().splitlines())} == {os.getpid()}
