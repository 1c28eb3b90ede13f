"""Trap's task through real workers and each broker: answers, bad images, and nothing left in the result backend."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from kombu import pools

from tests.support import fake_trap
from tests.support.brokers import Broker
from trapd.distribute import ledger, submit


@contextmanager
def worker(broker: Broker, place: Path, celery_pool: str = "prefork") -> Iterator[Path]:
    """A plain Celery worker with Trap's tasks on a stand-in for Trap; yields its ledger."""
    site, written = fake_trap.write(place / "site", "9.8.7"), place / "ledger"
    (site / "celeryconfig.py").write_text(broker.celeryconfig())
    node = ("-n", "default-7-1@host", "-c", "2", "-P", celery_pool, "--without-mingle", "--without-gossip")
    with (place / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "trapd.distribute.app:app", "worker", *node],
            env={**os.environ, "PYTHONPATH": str(site), "TRAPD_LEDGER": str(written)},
            stdout=log,
            stderr=log,
        )
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
