"""Acceptance: a release whose tasks all fail does not win, and one that fails as the one before does.

With several workers on RabbitMQ; and on Redis with one, of which old and new never run side by side but in a retrial.
"""

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
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting
from tests.support.worker_lab import wait

pytestmark = pytest.mark.timeout(240)

WORKERS = 2
SAIL = "shipyard.sail"
TASKS = """

@app.task(name="shipyard.leak")
def leak():
    raise OSError("always")


@app.task(name="shipyard.sail")
def sail(wind=True):
    {does}
"""
SAILS, FAILS = TASKS.format(does='return wind or {}["wind"]'), TASKS.format(does='raise KeyError("no wind")')
EVIDENCE = r"shipyard\.sail: canary (\d+) of \1 failed, KeyError; others 0 of \d+ meanwhile"


def version(number: str, tasks: str) -> dict[str, str]:
    files = sample.good(number)
    return {**files, "shipyard/jobs.py": files["shipyard/jobs.py"] + tasks}


@contextmanager
def sending(setting: Setting, *names: str, every: float = 0.03) -> Iterator[None]:
    """Somebody sends a task 20 times a second, one or the other by chance."""
    over, app, chance = threading.Event(), setting.broker.app(), Random(0)

    def send() -> None:
        while not over.wait(every):
            # not in turn: RabbitMQ serves idle consumers in turn, so each worker would have one name
            app.send_task(chance.choice(names), ignore_result=True)

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
    with (
        Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon,
        sending(setting, SAIL, "shipyard.leak"),
    ):
        daemon.wait_until("workers on 1.0", settled_on("1.0", WORKERS))
        application.install(application.wheel("2.0", version("2.0", FAILS)))
        waited = daemon.ctl("rollout", "status", timeout=120)
        assert waited.returncode == 1
        assert re.search(EVIDENCE, waited.stdout + waited.stderr)
        for verb in (["status"], ["why", "default"], ["rollout", "history"], ["events"]):
            assert re.search(EVIDENCE, daemon.ctl(*verb).stdout), verb
        wait(lambda: notifications.exists() and notifications.read_text().endswith("\n"))
        told = [json.loads(line)["event"] for line in notifications.read_text().splitlines()]
        assert [(event["kind"], bool(re.search(EVIDENCE, event["reason"]))) for event in told] == [("rejected", True)]
        settled = daemon.wait_until("the canary's end", lambda now: len(pool(now)["instances"]) == WORKERS)
        assert {one["generation"] for one in pool(settled)["instances"]} == {1}, "the old workers serve"

        application.install(application.wheel("3.0", version("3.0", SAILS)))  # its leaks are nothing new
        daemon.wait_until("workers on 3.0", settled_on("3.0", WORKERS), timeout=90)


def course(daemon: Daemon, generation: int) -> list[str]:
    """What became of this generation so far, and which generations' workers were started meanwhile."""
    told = [(event["kind"], (event["instance"] or "").partition("-")[0]) for event in daemon.events()]
    began = [name for _, name in told].index(f"default@{generation}")
    steps = ("started", "suspected", "verified", "cleared", "rejected", "failed", "held")
    return [f"{kind} {name}".strip() for kind, name in told[began:] if kind in steps]


def test_a_pool_of_one_worker_is_judged_beside_another_of_the_old_code_and_a_burst_of_bad_inputs_convicts_nobody(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("redis", request), acks_late=False, workers=1, concurrency=1)
    rollout = {"min_ready": "1s", "max_surge": 0, "max_unavailable": 1, "canary_time": "60s", "canary_tasks": 40}
    tables = setting.tables(application) | {"rollout": rollout}
    application.put("1.0", version("1.0", SAILS))

    def alone(status: Status) -> bool:
        return [(one["generation"], one["state"]) for one in pool(status)["instances"]] == [(2, "ready")]

    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon, setting.broker.app() as app:
        daemon.wait_until("a worker on 1.0", settled_on("1.0", 1))
        application.install(application.wheel("2.0", version("2.0", SAILS)))
        daemon.wait_until("the new worker, alone", alone)
        for _ in range(10):
            app.send_task(SAIL, (False,), ignore_result=True)
        daemon.wait_until("a suspicion", lambda _: "suspected" in course(daemon, 2))
        with sending(setting, SAIL):
            daemon.wait_until("a worker on 2.0", settled_on("2.0", 1), timeout=90)
            assert course(daemon, 2) == ["started default@2", "suspected", "started default@1", "cleared"]

            application.install(application.wheel("3.0", version("3.0", FAILS)))
            waited = daemon.ctl("rollout", "status", timeout=120)
            assert waited.returncode == 1
            for verb in (["why", "default"], ["why", "3"], ["events"]):
                assert re.search(EVIDENCE, daemon.ctl(*verb).stdout), verb
            daemon.wait_until("its end", lambda now: len(pool(now)["instances"]) == 1)
        assert course(daemon, 3) == ["started default@3", "suspected", "started default@2", "verified", "rejected"]
        app.send_task(sample.NAP, (0, str(ledger := short_path / "ledger.jsonl")))
        wait(lambda: [one.version for one in sample.read_ledger(ledger) if one.event == "end"] == ["2.0"])
