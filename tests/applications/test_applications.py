"""What plain `celery worker` does with an application, workers of trapd do too, and go on doing it while upgraded."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import table, transcripts
from tests.applications.catalogue import APPLICATIONS, DJANGO, Application
from tests.applications.runs import NEW, OLD, Load, Place, Plain, Trapd
from tests.support.daemon import Daemon, Status

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda one: one.name)
def test_trapd_does_what_plain_celery_does_and_upgrades_it_under_load(
    application: Application, place: Callable[[Application], Place], short_path: Path
) -> None:
    at = place(application)
    at.put()
    with Plain.running(at, short_path) as running:
        plain = at.observe(running.workers)
    at.put()
    with Trapd.running(at, short_path) as running:
        trapd = at.observe(running.workers)
        print(table.text(application.name, plain, trapd))
        assert trapd.answers == plain.answers
        assert trapd.each("queues") == plain.each("queues")
        assert trapd.each("tasks") == plain.each("tasks")
        assert trapd.written == plain.written
        assert table.differences(plain, trapd) == {}
        check = running.daemon.ctl("check")
        print(check.stdout)
        assert check.returncode == 0
        upgrade(at, running, short_path)
        at.beaten(trapd.beaten)  # and beat goes on


def upgrade(at: Place, running: Trapd, directory: Path) -> None:
    """Under load: nothing is lost, nothing runs twice, and afterwards all is new."""
    with Load(at, directory / "ledger") as load:
        _until(lambda: len(load.ran()) >= 5)
        if at.application is DJANGO:
            pause_migrate_resume(at, running.daemon)
        else:
            at.upgrade()
        running.daemon.wait_until("workers on the new code", running.on(2))
        settled = time.monotonic()
        time.sleep(1)
        sent, ran = load.stop(), load.ran()
    assert {id: answer for id, _, answer in sent} == dict(ran)  # each answered, by the code that ran it
    assert [id for id, times in Counter(id for id, _ in ran).items() if times > 1] == []
    assert {version for _, version in ran} == {OLD, NEW}
    assert {answer for _, when, answer in sent if when > settled} == {NEW}


def pause_migrate_resume(at: Place, daemon: Daemon) -> None:
    """The recipe of docs/applications.md, for new code that needs a change of the database."""

    def type_in(command: str) -> None:
        match shlex.split(command):
            case ["trapctl", *words]:
                done = daemon.ctl(*words)
                assert done.returncode == 0, done.stderr
            case ["git", *_]:
                at.upgrade(f"{at.application.name}_next")
                daemon.wait_until("word of the change", lambda status: wanted(status) == {2})
            case [_, "/srv/shop/manage.py", *words]:
                at.run("manage.py", *words)
                time.sleep(1)  # in which a rollout that was not held would begin
                assert {one["generation"] for all in daemon.status()["pools"] for one in all["instances"]} == {1}

    def wanted(status: Status) -> set[int]:
        return {one["generation"] for one in status["pools"]}

    transcripts.play(transcripts.section("docs/applications.md", "Pause, migrate, resume"), type_in)


def _until(true: Callable[[], bool], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
