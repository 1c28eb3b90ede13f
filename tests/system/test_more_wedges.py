"""More ways not to take tasks, under a real trapd: noticed, told and replaced. Only ``make test-long`` runs them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.black_hole import BlackHole
from tests.support.daemon import Daemon, Status, pool
from tests.support.lost_consumers import LOSES
from tests.support.sample import Application
from tests.support.upgrade import Setting
from tests.system.test_not_consuming import LOOKS, QUIET, names

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
                return " ".join(event["reason"] for event in daemon.events() if event["kind"] == "relieved")

            sent = [app.send_task(sample.NAP, (0, str(path)), queue=queue).id for queue in (lost, away)]
            while not ("while other queues give theirs" in told() and "another one is answered" in told()):
                sent.append(app.send_task(sample.NAP, (0, str(path))).id)
                time.sleep(0.5)
            # the one that connects for ever is ended a minute later only
            daemon.wait_until(
                "drains", lambda _: [event["kind"] for event in daemon.events()].count("draining") == len(pools)
            )
            while {entry.id for entry in sample.read_ledger(path) if entry.event == "end"} != set(sent):
                time.sleep(0.1)
            each = Counter(entry.id for entry in sample.read_ledger(path) if entry.event == "start")
            assert set(each.values()) == {1}
            everything = daemon.events()
            for name in pools:
                (old,), mine = names(before, name), [event for event in everything if event["pool"] == name]
                after = [event for event in mine if event["instance"] not in (None, old)]
                assert [event["kind"] for event in after] == ["started", "ready"], "each once"
                (drained,) = (event for event in mine if event["kind"] == "draining")
                assert (drained["instance"], drained["id"] > after[-1]["id"]) == (old, True), "new before old"
            hole.strand()  # its connection ends, so it leaves
            hole.pass_on()


def words(status: Status, name: str) -> str:
    return " ".join(instance["status"] for instance in pool(status, name)["instances"])


def settled(status: Status, name: str) -> bool:
    only = pool(status, name)["instances"]
    return [instance["state"] for instance in only] == ["ready"] and not pool(status, name)["problems"]
