"""Acceptance: a release whose tasks all fail does not win, and one that fails as the one before does. On RabbitMQ."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting
from tests.support.worker_lab import wait

pytestmark = pytest.mark.timeout(240)

WORKERS = 2
TASKS = """

@app.task(name="shipyard.leak")
def leak():
    raise OSError("always")


@app.task(name="shipyard.sail")
def sail():
    {does}
"""
SAILS, FAILS = TASKS.format(does='return "ahoy"'), TASKS.format(does='raise KeyError("no wind")')


def version(number: str, tasks: str) -> dict[str, str]:
    files = sample.good(number)
    return {**files, "shipyard/jobs.py": files["shipyard/jobs.py"] + tasks}


@contextmanager
def sending(setting: Setting, every: float = 0.03) -> Iterator[None]:
    """Somebody sends a task 20 times a second, one or the other by chance."""
    over, app, chance = threading.Event(), setting.broker.app(), Random(0)

    def send() -> None:
        while not over.wait(every):
            # not in turn: RabbitMQ serves idle consumers in turn, so each worker would have one name
            app.send_task(chance.choice(("shipyard.sail", "shipyard.leak")), ignore_result=True)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        app.close()


def test_a_release_whose_tasks_all_fail_is_rejected_and_one_that_fails_as_before_is_not(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("rabbitmq", request), acks_late=False, workers=WORKERS, concurrency=2)
    tables = setting.tables(application) | {"rollout": {"min_ready": "1s", "canary_time": "10s", "canary_tasks": 60}}
    notifications = short_path / "told"
    tables["notify"] = {"command": ["/bin/sh", "-c", f"cat >>{notifications}"]}
    application.put("1.0", version("1.0", SAILS))
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon, sending(setting):
        daemon.wait_until("workers on 1.0", settled_on("1.0", WORKERS))
        application.install(application.wheel("2.0", version("2.0", FAILS)))
        waited = daemon.ctl("rollout", "status", timeout=120)
        evidence = r"shipyard\.sail: canary (\d+) of \1 failed, KeyError; others 0 of \d+ meanwhile"
        assert waited.returncode == 1
        assert re.search(evidence, waited.stdout + waited.stderr)
        for verb in (["status"], ["why", "default"], ["rollout", "history"], ["events"]):
            assert re.search(evidence, daemon.ctl(*verb).stdout), verb
        wait(lambda: notifications.exists() and notifications.read_text().endswith("\n"))
        told = [json.loads(line)["event"] for line in notifications.read_text().splitlines()]
        assert [(event["kind"], bool(re.search(evidence, event["reason"]))) for event in told] == [("rejected", True)]
        settled = daemon.wait_until("the canary's end", lambda now: len(pool(now)["instances"]) == WORKERS)
        assert {one["generation"] for one in pool(settled)["instances"]} == {1}, "the old workers serve"

        application.install(application.wheel("3.0", version("3.0", SAILS)))  # its leaks are nothing new
        daemon.wait_until("workers on 3.0", settled_on("3.0", WORKERS), timeout=90)
