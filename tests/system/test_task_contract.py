"""An upgrade that drops a task and alters another is named before the new code is good, and the dropped task's messages
wait for code that has it. On the embedded backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, pool, settled_on
from tests.support.repetitions import rows
from tests.support.sample import Application
from tests.support.upgrade import Setting

BEFORE = """
from trapd.worker import unknown

unknown.PATIENCE = unknown.LOOK_RARELY = 1.0


@app.task(name="shipyard.survey")
def survey(ship):
    open(ship, "w").close()


@app.task(name="shipyard.moor")
def moor(released):
    while not os.path.exists(released):
        time.sleep(0.1)


@app.task(name="shipyard.paint")
def paint(ship, colour): ...
"""
AFTER = """
@app.task(name="shipyard.moor")
def moor(released): ...


from trapd.worker import unknown

unknown.PATIENCE = unknown.LOOK_RARELY = 1.0


@app.task(name="shipyard.paint")
def paint(ship, colour, coats): ...
"""
MISSING = "does not have task shipyard.survey: the messages wait in QUEUE.trapd-parked"
ALTERED = "another signature for task shipyard.paint"


def version(number: str, tasks: str) -> dict[str, str]:
    files = sample.good(number)
    files["shipyard/jobs.py"] += tasks
    return files


@pytest.mark.parametrize("kind", rows(usual=["redis"], more=["rabbitmq"]))
def test_a_dropped_task_is_named_and_its_messages_wait_for_code_that_has_it(
    kind: str, application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker(kind, request), acks_late=False, workers=1, concurrency=1)
    tables = {**setting.tables(application), "rollout": {"min_ready": "2s"}}
    application.put("1.0", version("1.0", BEFORE))
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("workers", settled_on("1.0", 1))
        application.install(application.wheel("2.0", version("2.0", AFTER)))
        seen = daemon.wait_until("word of it", lambda status: bool(pool(status)["rollout"]["tasks"]), every=0.1)
        assert pool(seen)["rollout"]["tasks"]["missing"] == ["shipyard.survey"]
        assert pool(seen)["rollout"]["tasks"]["altered"] == ["shipyard.paint"]
        for command in (["status"], ["plan"]):
            shown = " ".join(daemon.ctl(*command).stdout.split())
            assert MISSING in shown
            assert ALTERED in shown
        daemon.wait_until("the new code", settled_on("2.0", 1))

        def events(**wanted: object) -> list[Any]:
            everything = json.loads(daemon.ctl("events", "--json", "--limit", "200").stdout)["events"]
            return [event for event in everything if all(event[key] == value for key, value in wanted.items())]

        [told] = events(kind="tasks-changed")
        [promoted] = events(kind="promoted", generation=2)
        ready = min(event["id"] for event in events(kind="ready", generation=2))
        assert told["id"] < ready < promoted["id"], "before the new code serves"
        assert MISSING in told["reason"]
        history = " ".join(daemon.ctl("rollout", "history").stdout.split())
        assert MISSING in history
        lines = daemon.ctl("generations", "diff", "1", "2").stdout.splitlines()
        assert "missing  task shipyard.survey" in lines
        assert "altered  task shipyard.paint: another signature" in lines

        with setting.broker.app() as app:
            surveyed = short_path / "surveyed"
            app.send_task("shipyard.survey", (str(surveyed),), ignore_result=True)
        queue = f"{setting.broker.queue}.trapd-parked"
        words = f"1 message of task shipyard.survey in {queue}: no worker knows the task"
        seen = daemon.wait_until("a problem", lambda status: any(words in one for one in pool(status)["problems"]))
        assert f"trapctl celery purge -Q {queue}" in " ".join(pool(seen)["problems"])
        assert daemon.ctl("status").returncode == 1
        assert f"set aside: 1 message of task shipyard.survey, in {queue}" in daemon.ctl("tasks").stdout
        [aside] = events(kind="set-aside")
        assert words in aside["reason"]
        daemon.ctl("rollout", "undo", "default")
        daemon.wait_until(
            "its end", lambda status: surveyed.exists() and not any(words in one for one in pool(status)["problems"])
        )


@pytest.mark.parametrize("kind", rows(usual=["rabbitmq"], more=["redis"]))
def test_a_rollout_is_held_until_the_old_code_has_run_what_waits(
    kind: str, application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker(kind, request), acks_late=False, workers=1, concurrency=1)
    tables = {**setting.tables(application), "rollout": {"min_ready": "1s", "on_missing_tasks": "hold"}}
    application.put("1.0", version("1.0", BEFORE))
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon, setting.broker.app() as app:
        daemon.wait_until("workers", settled_on("1.0", 1))
        surveyed, released = short_path / "surveyed", short_path / "released"
        for _ in range(2):  # one runs, one is reserved: what is sent then stays in the queue
            app.send_task("shipyard.moor", (str(released),), ignore_result=True)
        app.send_task("shipyard.survey", (str(surveyed),), ignore_result=True)
        application.install(application.wheel("2.0", version("2.0", AFTER)))
        seen = daemon.wait_until(
            "a held rollout", lambda status: "on_missing_tasks" in pool(status)["waiting"], every=0.1
        )
        assert MISSING in pool(seen)["waiting"]
        assert not surveyed.exists()
        released.touch()
        daemon.wait_until("the new code", settled_on("2.0", 1), timeout=90)
        assert surveyed.exists()
        assert "parked in" not in daemon.words()
        everything = json.loads(daemon.ctl("events", "--json", "--limit", "200").stdout)["events"]
        [opened] = [event for event in everything if event["kind"] == "opened"]
        assert opened["reason"].startswith("no message of shipyard.survey, shipyard.paint is in the queues")
        ready = [event for event in everything if event["kind"] == "ready" and event["generation"] == 2]
        assert min(event["id"] for event in ready) > opened["id"]
