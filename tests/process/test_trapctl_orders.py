"""What a person orders of one worker or one task, by trapctl: of a real trapd with real workers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting
from tests.upgrades.stage import wait_for

TASKS = """
@app.task(name="shipyard.moor", ignore_result=True)
def moor(log):
    from celery.exceptions import SoftTimeLimitExceeded

    try:
        time.sleep(600)
    except SoftTimeLimitExceeded:
        open(log, "w").close()
        raise


@app.task(name="shipyard.kill", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def kill(peace):
    if not os.path.exists(peace):
        time.sleep(0.5)  # until the main process has noted the start
        os.kill(os.getpid(), 9)
"""


class Orders:
    def __init__(self, daemon: Daemon, setting: Setting) -> None:
        self.daemon, self._broker = daemon, setting.broker

    def give(self, *arguments: str) -> str:
        done = self.daemon.ctl(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def workers(self, state: str = "ready") -> list[str]:
        instances = pool(self.daemon.status())["instances"]
        return sorted(one["name"] for one in instances if one["state"] == state)

    def wait_for_workers(self, true: Callable[[list[str]], bool]) -> list[str]:
        wait_for("other workers", lambda: true(self.workers()) and not self.workers("draining"))
        return self.workers()

    def send(self, task: str, path: Path) -> str:
        with self._broker.app() as app:
            return str(app.send_task(task, (str(path),), ignore_result=True).id)

    def running(self) -> list[str]:
        workers = json.loads(self.give("tasks", "--json"))["workers"]
        return [task["id"] for worker in workers for task in worker["running"]]

    def kinds(self) -> list[Any]:
        return [event["kind"] for event in self.daemon.events()]


def of_saved_settings(daemon: Daemon) -> None:
    """Saving them is no order: that is a problem, with an exit status and an event, until trapd is told to reload."""
    sentence = f"{daemon.config} was saved after trapd had read it, and is not in force; reload trapd"

    def told() -> list[Any]:
        return [event["kind"] for event in daemon.events() if sentence in event["reason"]]

    assert daemon.ctl("status").returncode == 0
    saved = daemon.config.read_text()
    assert 'min_ready = "0s"' in saved
    daemon.config.write_text(saved.replace('min_ready = "0s"', 'min_ready = "1s"'))
    asked = daemon.ctl("status")
    assert (asked.returncode, f"problem: {sentence}" in asked.stdout) == (1, True), asked.stdout
    wait_for("its event", lambda: told() == ["trouble"])
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    wait_for("the end of it", lambda: told() == ["trouble", "relief"])
    assert daemon.ctl("status").returncode == 0


def of_one_worker(orders: Orders) -> None:
    """One is drained, and comes back; another is recycled by its name."""
    first, second = orders.workers()
    orders.give("drain", first, "--reason", "its disk")
    assert orders.wait_for_workers(lambda ready: len(ready) == 1) == [second]
    assert pool(orders.daemon.status())["wanted"] == 1
    orders.give("undrain", first)
    orders.wait_for_workers(lambda ready: len(ready) == 2)
    orders.give("recycle", second, "--timeout", "60s")
    after = orders.wait_for_workers(lambda ready: len(ready) == 2)
    assert second not in after
    assert {"drained", "undrained", "recycled"} <= {*orders.kinds()}


def of_one_task(orders: Orders, folder: Path) -> None:
    """One is asked to end, another is killed."""
    cleaned, never = folder / "cleaned", folder / "never"
    for arguments, log in (([], cleaned), (["--now"], never)):
        id = orders.send("shipyard.moor", log)
        wait_for("start of a task", lambda id=id: id in orders.running())  # type: ignore[misc]
        assert f"task {id} in default@" in orders.give("tasks", "end", id, *arguments)
        wait_for("end of a task", lambda id=id: id not in orders.running())  # type: ignore[misc]
    assert cleaned.exists()
    assert not never.exists()
    assert orders.kinds().count("task-ended") == 2


def of_a_poisoned_task(orders: Orders, folder: Path) -> None:
    """It is set aside, and runs when a person says so."""
    peace = folder / "peace"
    id = orders.send("shipyard.kill", peace)
    wait_for("poisoned task", lambda: id in orders.give("tasks", "poisoned"))
    peace.touch()
    orders.give("tasks", "retry", id)
    wait_for("task that is tried again", lambda: id not in orders.give("tasks", "poisoned"), 20)
    assert {"poisoned", "released"} <= {*orders.kinds()}


@pytest.mark.timeout(300)
def test_every_order_of_a_person_is_carried_out(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("redis", request), acks_late=False, workers=2, concurrency=1)
    files = sample.good("1.0")
    files["shipyard/jobs.py"] += TASKS
    application.put("1.0", files)
    tables = {**setting.tables(application), "rollout": {"min_ready": "0s"}}
    tables["pools.default"] = {**tables["pools.default"], "poison_after": 1}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("workers", settled_on("1.0", 2))
        orders = Orders(daemon, setting)
        of_saved_settings(daemon)
        of_one_worker(orders)
        of_one_task(orders, short_path)
        of_a_poisoned_task(orders, short_path)
