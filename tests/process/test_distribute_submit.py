"""Trap's task through real workers and each broker: answers, bad images, and nothing left in the result backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery
from kombu import pools

from tests.conftest import make_broker
from tests.support import fake_trap
from tests.support.brokers import Broker
from trapd.distribute import ledger, submit


def wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def redis_broker(request: pytest.FixtureRequest) -> Broker:
    return make_broker("redis", request)


@pytest.fixture
def rabbitmq_broker(request: pytest.FixtureRequest) -> Broker:
    return make_broker("rabbitmq", request)


@contextmanager
def worker(broker: Broker, place: Path, celery_pool: str = "prefork") -> Iterator[Path]:
    """A plain Celery worker with Trap's tasks on a stand-in for Trap; yields its ledger."""
    place.mkdir(exist_ok=True)
    site, written = fake_trap.write(place / "site", "9.8.7"), place / "ledger"
    (site / "celeryconfig.py").write_text(broker.celeryconfig())
    node = ("-n", "default-7-1@host", "-c", "2", "-P", celery_pool, "--without-mingle", "--without-gossip")
    with (place / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "trapd.distribute.app:app", "worker", *node],
            env={**os.environ, "PYTHONPATH": str(site), "TRAPD_LEDGER": str(written)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (place / "pid").write_text(str(process.pid))
    try:
        yield written
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def application(broker: Broker) -> Iterator[Celery]:
    """An application for submitters, whose connections are closed in the end."""
    app = broker.app()
    yield app
    if app.backend.is_async:
        app.backend.result_consumer.stop()
    if hasattr(app.backend, "client"):
        app.backend.client.close()
    pools.reset()
    app.close()


def images(place: Path, count: int) -> list[str]:
    paths = []
    for number in range(count):
        path = place / f"{number}.fits"
        path.write_text(" ".join(["0.5"] * number) or "rejected")
        paths.append(str(path))
    return paths


def test_every_image_is_answered_once_with_its_own_sources(broker: Broker, tmp_path: Path) -> None:
    paths = images(tmp_path, 12)
    with worker(broker, tmp_path) as written, application(broker) as app:
        answers = list(submit.extract(app, paths, in_flight=4, patience=30))
    assert {answer.image: len(answer.result["sources"]) for answer in answers if answer.result} == {
        path: number for number, path in enumerate(paths)
    }
    assert {answer.result["generation"] for answer in answers if answer.result} == {7}
    runs = ledger.read(written.read_text().splitlines())
    assert sorted(run.task for run in runs) == sorted(answer.task for answer in answers)
    assert all(run.finished for run in runs)


def test_a_bad_image_is_answered_and_the_worker_goes_on(broker: Broker, tmp_path: Path) -> None:
    (good,) = images(tmp_path, 1)
    bad = tmp_path / "bad.fits"
    bad.write_text("!MemoryError('cannot allocate 8 EiB')")
    with worker(broker, tmp_path), application(broker) as app:
        answers = list(submit.extract(app, [str(bad), "/none.fits", good] * 3, patience=30))
    errors = {answer.image: answer.error for answer in answers}
    assert errors == {
        str(bad): f"cannot extract sources from {bad}: MemoryError: cannot allocate 8 EiB",
        "/none.fits": "cannot read /none.fits: No such file or directory",
        good: "",
    }
    assert len(answers) == 9


def test_answers_are_taken_as_they_come_whatever_the_order(broker: Broker, tmp_path: Path) -> None:
    paths = images(tmp_path, 6)
    with application(broker) as app:
        submitter = submit.Submitter(app)
        sent = [submitter.send(path) for path in paths]  # before there is a worker
        assert submitter.gather(0) == []
        assert submitter.waiting == 6
        with worker(broker, tmp_path, "threads"):
            answers: list[submit.Answer] = []
            deadline = time.monotonic() + 30
            while submitter.waiting and time.monotonic() < deadline:
                answers += submitter.gather(1)
    assert sorted(answer.task for answer in answers) == sorted(sent)


KILLS = "!__import__('os').kill(__import__('os').getpid(), 9)"  # the process that reads the image
SLOW = "!__import__('time').sleep(0.2)"


def test_a_killed_child_is_not_a_bad_image_and_the_image_is_sent_three_times(
    rabbitmq_broker: Broker, tmp_path: Path
) -> None:
    (good,) = images(tmp_path, 1)
    deadly = tmp_path / "deadly.fits"
    deadly.write_text(KILLS)
    with worker(rabbitmq_broker, tmp_path) as written, application(rabbitmq_broker) as app:
        answers = {answer.image: answer for answer in submit.extract(app, [str(deadly), good], patience=30)}
    assert (answers[good].fault, answers[good].error) == ("", "")
    assert (answers[str(deadly)].fault, answers[str(deadly)].attempts) == ("machine", 3)
    assert "WorkerLostError" in answers[str(deadly)].error
    assert len(ledger.read(written.read_text().splitlines())) == 4


def test_a_submitter_that_stops_leaves_no_tasks_and_no_results(short_path: Path, redis_broker: Broker) -> None:
    paths = [str(short_path / f"{number}.fits") for number in range(40)]
    for path in paths:
        Path(path).write_text(SLOW)
    with worker(redis_broker, short_path) as written, application(redis_broker) as app:
        answers = submit.extract(app, paths, in_flight=40, patience=30)
        next(answers)
        answers.close()  # type: ignore[attr-defined]  # as Ctrl-C does
        ran = len(ledger.read(written.read_text().splitlines()))
        assert ran < 20, "of 40"
        wait(lambda: app.backend.client.llen(redis_broker.queue) == 0)
        assert app.backend.client.keys("celery-task-meta-*") == []
        assert len(ledger.read(written.read_text().splitlines())) == ran


def test_an_image_of_a_killed_worker_goes_to_the_next_one(short_path: Path, rabbitmq_broker: Broker) -> None:
    image = short_path / "a.fits"
    image.write_text("!__import__('time').sleep(60)")
    with application(rabbitmq_broker) as app:
        submitter = submit.Submitter(app)
        submitter.send(str(image))
        with worker(rabbitmq_broker, short_path / "1") as written:
            wait(written.exists)
            os.killpg(int((short_path / "1/pid").read_text()), signal.SIGKILL)
        image.write_text("0.5")
        with worker(rabbitmq_broker, short_path / "2"):
            (answer,) = submitter.gather(30)
    assert answer.error == ""
