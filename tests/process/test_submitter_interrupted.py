"""A submitter that is interrupted or killed in the middle of a run: the same command goes on from the kept answers."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from tests.support import brokers
from tests.support.submitter import Site
from tests.support.worker_lab import client_warnings

IMAGES = 4
SLOW = IMAGES - 1
SLOTS = 2  # of the worker, which takes no more tasks from the queue than it works on
HELD = """
import time

_read = read_pyse_image


def read_pyse_image(path, **options):
    while os.path.exists(path + ".held"):  # an image takes as long as a file beside it is there
        time.sleep(0.05)
    return _read(path, **options)
"""
pytestmark = [*client_warnings]


def wait(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def ended(process: subprocess.Popen[str], status: int) -> str:
    said = process.communicate(timeout=120)[1]
    assert process.returncode == status, said
    assert "Traceback" not in said
    return said


@pytest.fixture
def url(short_path: Path) -> Iterator[str]:
    """Of a Redis of this test's own."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(brokers.redis_server(short_path))[0]
        except brokers.MissingServerError as error:
            pytest.skip(str(error))


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many images were begun."""
    file = tmp_path / "ledger"
    monkeypatch.setenv("TRAPD_LEDGER", str(file))
    return lambda: file.read_text().count('"begin"') if file.exists() else 0


def held_site(place: Path, images: int, url: str, held: Iterable[int]) -> Site:
    site = Site(place, images, broker_url=url, result_backend=url)
    with (place / "site/trap/source_extraction.py").open("a") as file:
        file.write(HELD)
    for number in held:
        (place / f"images/{number}.fits.held").touch()
    return site


def test_ctrl_c_revokes_the_images_that_wait_and_forgets_all_results(
    url: str, begun: Callable[[], int], tmp_path: Path
) -> None:
    images = SLOTS + 4
    site = held_site(tmp_path, images, url, range(images))
    with site.worker(), release(tmp_path), site.run() as run, Redis.from_url(url) as redis:
        wait(lambda: begun() == SLOTS and site.sent() == images - SLOTS, run)
        run.send_signal(signal.SIGINT)
        wait(lambda: revoked(url) == images, run)
        let_go(tmp_path)
        assert "Interrupted." in ended(run, 130)
        deadline = time.monotonic() + 60
        while redis.llen("celery") or redis.hlen("unacked"):  # the worker has still to throw the tasks away
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert begun() == SLOTS, "no worker works for nobody"
        assert redis.keys("celery-task-meta-*") == []


@contextmanager
def release(place: Path) -> Iterator[None]:
    """A worker that still has an image in work would not end."""
    try:
        yield
    finally:
        let_go(place)


def let_go(place: Path) -> None:
    for file in (place / "images").glob("*.held"):
        file.unlink()


def revoked(url: str) -> int:
    """How many tasks the worker knows to be revoked."""
    with Celery("asker", broker=url, set_as_current=False) as app:
        told = app.control.inspect(timeout=5, limit=1).revoked() or {}
    return len({task for tasks in told.values() for task in tasks})


def test_a_run_that_is_killed_and_then_interrupted_ends_complete_from_the_kept_answers(
    url: str, begun: Callable[[], int], tmp_path: Path
) -> None:
    site = held_site(tmp_path, IMAGES, url, [SLOW])
    slow = tmp_path / f"images/{SLOW}.fits"
    slow.write_text(f"{slow.read_text()} warn")
    with ExitStack() as stack:
        answers = tmp_path / "database.sqlite.answers"
        stack.enter_context(site.worker())

        killed = stack.enter_context(site.run())
        wait(lambda: begun() == IMAGES and len([*answers.glob("*.json")]) == SLOW, killed)
        killed.send_signal(signal.SIGKILL)
        ended(killed, -signal.SIGKILL)
        kept = {file: file.stat().st_mtime_ns for file in answers.glob("*.json")}

        interrupted = stack.enter_context(site.run())
        wait(lambda: begun() == IMAGES + 1, interrupted)
        interrupted.send_signal(signal.SIGINT)
        said = ended(interrupted, 130)
        assert "Interrupted. The answers so far are kept; the same command goes on from there." in said
        assert not site.database.exists(), "it has its name when it is complete"

        slow.with_name(f"{SLOW}.fits.held").unlink()
        said = ended(stack.enter_context(site.run()), 0)
        assert f"no bandwidth in {slow}" in said, "what Trap logs in the worker reaches the terminal of the user"
    with closing(sqlite3.connect(site.database)) as database:
        assert database.execute("select state, images, failed from trapd_run").fetchall() == [("complete", IMAGES, 0)]
        found = database.execute("select im_id, count(*) from extracted_sources group by im_id").fetchall()
        attempts = database.execute("select attempts from trapd_provenance order by im_id").fetchall()
    assert found == [(number, number + 1) for number in range(IMAGES)]
    assert attempts == [(0,)] * SLOW + [(1,)]
    assert {file: file.stat().st_mtime_ns for file in kept} == kept, "nobody was asked for them again"
    assert begun() == IMAGES + 2
