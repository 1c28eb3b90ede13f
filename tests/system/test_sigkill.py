"""trapd itself is killed, on the embedded backend: its workers finish what they run and leave; the next one goes on.

And where everybody is killed, the next ones still know which tasks were revoked.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.simulation import chronicle
from tests.support import sample
from tests.support.daemon import Daemon, pool, settled_on
from tests.support.sample import Application, Entry
from tests.support.upgrade import Setting
from trapd.event import Became, EventKind
from trapd.history import SqliteHistory

pytestmark = pytest.mark.timeout(120)
NAPS = [8.0] * 4 + [0.1] * 2  # s; on four slots: two of them still wait in the broker


def wait(what: str, true: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {timeout:g} s"
        time.sleep(0.1)


def test_workers_of_a_killed_trapd_finish_their_tasks_and_leave_and_the_next_trapd_goes_on(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("redis", request), acks_late=False, workers=2, concurrency=2)
    application.put("1.0")
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=setting.tables(application)) as daemon:
        before = daemon.wait_until("workers", settled_on("1.0", 2))
        path, app = short_path / "ledger.jsonl", setting.broker.app()
        sent = {app.send_task(sample.NAP, (seconds, str(path))).id for seconds in NAPS}

        def entries(event: str) -> list[Entry]:
            return [entry for entry in sample.read_ledger(path) if entry.event == event]

        wait("four tasks at work", lambda: len(entries("start")) == 4)
        daemon.kill()
        wait("end of the workers", lambda: not daemon.living())
        assert {entry.id for entry in entries("end")} == {entry.id for entry in entries("start")}
        assert len(entries("end")) == 4, "a worker that was told to leave took another task, or dropped one"

        daemon.start()
        after = daemon.wait_until("workers again", settled_on("1.0", 2))
        wait("the other tasks", lambda: len(entries("end")) == len(NAPS))
        assert {entry.id for entry in entries("end")} == sent
        assert len(entries("start")) == len(NAPS), "a task ran twice"
        assert pool(after)["generation"] == pool(before)["generation"]
        assert not [*daemon.runtime.rglob("*.receipt")], "what is in the history is removed"
        ran = {entry.id for entry in entries("start")[:4]}
    with closing(SqliteHistory(daemon.state / "history.sqlite")) as history:
        events = history.events(limit=1000)
    chronicle.check(events)
    chronicle.check_end(events, [])
    words = ["trapd-started", "trapd-lost", "trapd-started", "trapd-stopped"]
    assert [event.kind for event in events if event.pool is None] == words, "the first was killed, and the next says so"
    assert events[-1].reason == "every worker has finished its tasks and left"
    left = [event.kind for event in events if event.instance == f"default@{pool(before)['generation']}-1"]
    assert left[:5] == ["started", "ready", "gone", "started", "ready"], "it drained while no trapd was there"
    gone = [event for event in events if event.kind is EventKind.GONE][:2]
    receipts = {task.id: task.became for event in gone for task in event.tasks}
    assert ran <= receipts.keys() <= sent, "the next trapd reads their receipts"
    assert {became for id, became in receipts.items() if id in ran} == {Became.FINISHED}
    assert {became for id, became in receipts.items() if id not in ran} <= {Became.RETURNED}


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_revoked_tasks_do_not_run_after_trapd_and_every_worker_were_killed(
    application: Application, short_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    setting = Setting(make_broker(name, request), acks_late=False, workers=2, concurrency=1)
    application.put("1.0")
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=setting.tables(application)) as daemon:
        daemon.wait_until("workers", settled_on("1.0", 2))
        path, app = short_path / "ledger.jsonl", setting.broker.app()

        def send(seconds: float) -> str:
            return str(app.send_task(sample.NAP, (seconds, str(path)), ignore_result=True).id)

        def started() -> set[str]:
            return {entry.id for entry in sample.read_ledger(path)}

        long = {send(60), send(60)}
        wait("both at work", lambda: started() == long)
        waiting = [send(0.1) for _ in range(20)]
        answers = app.control.revoke(waiting, reply=True, timeout=10, limit=2)
        assert len(answers) == 2
        for pid in daemon.living():
            os.kill(pid, signal.SIGKILL)
        daemon.kill()  # which waits for it, too
        wait("end of all", lambda: not daemon.living())

        daemon.start()
        daemon.wait_until("workers again", settled_on("1.0", 2))
        last = [send(0.1) for _ in range(4)]  # behind the revoked ones
        wait("the last", lambda: started() >= set(last))
        assert started() == long | set(last)
