"""A worker that takes no tasks any more is replaced by a real trapd, and what waited runs. On the embedded backend."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.black_hole import BlackHole
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting
from trapd.control import methods
from trapd.ctl.client import Client

QUIET = 2.0  # s
LOOKS = f"""
from trapd.worker import consuming

consuming.QUIET = {QUIET}
"""


def test_workers_whose_consumers_were_cancelled_are_replaced_and_a_pause_keeps_them(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("redis", request), acks_late=False, workers=2, concurrency=1)
    files = sample.good("1.0")
    files["shipyard/jobs.py"] += LOOKS
    application.put("1.0", files)
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=setting.tables(application)) as daemon:
        before = daemon.wait_until("workers", settled_on("1.0", 2))
        path, app = short_path / "ledger.jsonl", setting.broker.app()
        app.control.cancel_consumer(setting.broker.queue)
        sent = {app.send_task(sample.NAP, (0.1, str(path))).id for _ in range(4)}

        def told(status: Status) -> bool:
            return pool(status)["ready"] < 2 and any("takes no tasks" in line for line in pool(status)["problems"])

        seen = daemon.wait_until("word of it", told, every=0.1)
        assert any("cancel_consumer" in line for line in pool(seen)["problems"])
        after = daemon.wait_until("other workers", settled_on("1.0", 2))
        assert not names(before) & names(after)
        while {entry.id for entry in sample.read_ledger(path) if entry.event == "end"} != sent:
            time.sleep(0.1)
        reasons = daemon.ctl("why", "default").stdout
        assert "is not consuming for" in reasons
        assert f"it does not take from queue {setting.broker.queue}" in reasons

        # whoever wants it so pauses the pool
        daemon.ctl("rollout", "pause", "default")
        app.control.cancel_consumer(setting.broker.queue)
        daemon.wait_until("word of it", told, every=0.1)
        time.sleep(3)
        assert names(daemon.status()) == names(after)
        checked = json.loads(daemon.ctl("check", "--json").stdout)["findings"]
        idle, *_ = (one for one in checked if one["since"] is not None and "takes no tasks" in one["what"])
        assert idle["what"].startswith("pool default: ")
        assert idle["reason"].startswith("trapd runs, and has had this problem for ")
        app.close()


LOSES = """
from celery.worker.control import control_command


@control_command()
def lose(state, queue):
    \"\"\"One consumer of several is lost, and the worker does not know it.\"\"\"
    consumer = state.consumer.task_consumer
    consumer.channel.basic_cancel(consumer._active_tags[queue])
"""
AWAY = """
if os.environ.get("AWAY"):
    broker_url = broker_url.replace(":{port}", ":" + os.environ["AWAY"])
"""


@pytest.mark.long
def test_a_worker_that_lost_one_queue_of_two_and_one_that_connects_for_ever_are_replaced(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    """The one works on meanwhile. The other one's broker has accepted its connection, and never says a word on it."""
    setting = Setting(make_broker("redis", request), acks_late=False, workers=1, concurrency=2)
    broker, files, path = setting.broker, sample.good("1.0"), short_path / "ledger.jsonl"
    lost, away = f"{broker.queue}-lost", f"{broker.queue}-away"
    files["shipyard/jobs.py"] += LOOKS + LOSES
    application.install(application.wheel("1.0", files))
    config = f"import os\n{setting.celeryconfig()}{AWAY.format(port=broker.port)}"
    with BlackHole(broker.port) as hole:
        tables = setting.tables(application)
        tables["pools.default"] = {**tables["pools.default"], "queues": [broker.queue, lost]}
        tables["pools.away"] = {"workers": 1, "queues": [away], "environment": {"AWAY": str(hole.port)}}
        with Daemon(short_path, celeryconfig=config, tables=tables) as daemon, broker.app() as app:
            pools = ("default", "away")
            before = daemon.wait_until("workers", lambda status: all(settled(status, name) for name in pools))
            time.sleep(2 * QUIET)
            app.control.broadcast("lose", {"queue": lost})
            hole.strand()
            daemon.wait_until("a worker that connects again", lambda status: "unreachable" in words(status, "away"))
            hole.swallow_present()

            def told() -> str:
                return " ".join(event["reason"] for event in events(daemon) if event["kind"] == "relieved")

            sent = [app.send_task(sample.NAP, (0, str(path)), queue=queue).id for queue in (lost, away)]
            while not ("while other queues give theirs" in told() and "another one is answered" in told()):
                sent.append(app.send_task(sample.NAP, (0, str(path))).id)
                time.sleep(0.5)
            # the one that connects for ever is ended a minute later only
            daemon.wait_until(
                "drains", lambda _: [event["kind"] for event in events(daemon)].count("draining") == len(pools)
            )
            while {entry.id for entry in sample.read_ledger(path) if entry.event == "end"} != set(sent):
                time.sleep(0.1)
            each = Counter(entry.id for entry in sample.read_ledger(path) if entry.event == "start")
            assert set(each.values()) == {1}
            everything = events(daemon)
            for name in pools:
                (old,), mine = names(before, name), [event for event in everything if event["pool"] == name]
                after = [event for event in mine if event["instance"] not in (None, old)]
                assert [event["kind"] for event in after] == ["started", "ready"], "each once"
                (drained,) = (event for event in mine if event["kind"] == "draining")
                assert (drained["instance"], drained["id"] > after[-1]["id"]) == (old, True), "new before old"
            hole.strand()  # its connection ends, so it leaves
            hole.pass_on()


def events(daemon: Daemon) -> list[dict[str, Any]]:
    with Client(daemon.control) as client:
        return [
            dict(event)
            for event in client.ask(methods.EVENTS({"pool": None, "rollout": None, "since": None, "limit": 500}))[
                "events"
            ]
        ]


def words(status: Status, name: str) -> str:
    return " ".join(instance["status"] for instance in pool(status, name)["instances"])


def settled(status: Status, name: str) -> bool:
    only = pool(status, name)["instances"]
    return [instance["state"] for instance in only] == ["ready"] and not pool(status, name)["problems"]


def names(status: Status, name: str = "default") -> set[str]:
    return {instance["name"] for instance in pool(status, name)["instances"]}
