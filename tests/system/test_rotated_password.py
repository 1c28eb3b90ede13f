"""Acceptance: after a rotation of RabbitMQ's password no undo and no restart brings the old one back."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import brokers
from tests.support.daemon import Daemon, pool, settled_on
from tests.support.sample import NAME, Application, good
from tests.support.upgrade import Setting


@pytest.mark.timeout(240)
def test_after_a_rotation_undo_and_good_code_use_the_new_password(
    application: Application, short_path: Path, tmp_path: Path
) -> None:
    application.put("1.0")
    try:
        with brokers.rabbitmq_server(tmp_path) as (url, server):
            setting = Setting(brokers.on_rabbitmq(url), acks_late=False, workers=1, concurrency=1)
            tables = setting.tables(application) | {"rollout": {"min_ready": "1s"}}
            with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
                _rotate_and_go_back(daemon, application, server)
                _rotate_together_with_broken_code(daemon, application, server)
    except brokers.MissingServerError as error:
        pytest.skip(str(error))


DIES_IN_ITS_PROBATION = """
import threading
from celery.signals import worker_ready

@worker_ready.connect
def end(**_):
    threading.Timer(4.0, os._exit, [3]).start()
"""


@pytest.mark.timeout(240)
def test_code_that_fails_in_its_probation_is_taken_back_and_not_the_celeryconfig_that_came_with_it(
    application: Application, short_path: Path, tmp_path: Path
) -> None:
    """The good code before serves first with its own celeryconfig, and then with the one in force."""
    application.put("1.0")
    setting = Setting(brokers.on_files(tmp_path / "broker"), acks_late=False, workers=1, concurrency=1)
    tables = setting.tables(application) | {"rollout": {"min_ready": "1s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("a worker on 1.0", settled_on("1.0", 1))
        config = daemon.directory / "celeryconfig.py"
        config.write_text(config.read_text() + "worker_send_task_events = True\n")
        files = good("2.0")
        application.put("2.0", {**files, f"{NAME}/jobs.py": files[f"{NAME}/jobs.py"] + DIES_IN_ITS_PROBATION})
        daemon.wait_until("word of doubt", lambda _: "doubted" in [event["kind"] for event in daemon.events()])
        status = daemon.wait_until(
            "the code before with the new celeryconfig",
            lambda now: settled_on("1.0", 1)(now) and pool(now)["generation"] == 3,
            120,
        )
        assert any("shipyard 2.0 is installed and does not run: " in text for text in pool(status)["problems"])
        assert (daemon.state / "generations/3/etc/celeryconfig.py").read_text() == config.read_text()


def _rotate_and_go_back(daemon: Daemon, application: Application, server: brokers.Server) -> None:
    daemon.wait_until("a worker on 1.0", settled_on("1.0", 1))
    application.install(application.wheel("2.0"))
    assert daemon.ctl("rollout", "status", "--timeout", "60s").returncode == 0

    brokers.change_password(server, "guest", "fresh")
    config = daemon.directory / "celeryconfig.py"
    config.write_text(config.read_text().replace("guest:guest@", "guest:fresh@"))
    assert daemon.ctl("rollout", "status", "--timeout", "60s").returncode == 0

    done = daemon.ctl("rollout", "undo", "default", "--timeout", "60s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "undo of generation 3: shipyard 2.0 -> 1.0" in done.stdout
    status = daemon.wait_until("a worker on 1.0 again", settled_on("1.0", 1))
    (before,) = pool(status)["instances"]

    _restart(daemon, before, "1.0")
    held = daemon.ctl("status")
    assert held.returncode == 1
    assert "shipyard 2.0 is installed and does not run: undone by" in held.stdout


def _rotate_together_with_broken_code(daemon: Daemon, application: Application, server: brokers.Server) -> None:
    """The cost that docs/adr/0028-code-goes-back-passwords-do-not.md names: with the old password the good code before
    does not start either, so trapd blames nobody and waits; the worker that runs serves on, and good code ends it."""
    broken = {**good("3.0"), f"{NAME}/__init__.py": "raise RuntimeError('no keel')\n"}
    (before,) = pool(daemon.status())["instances"]
    brokers.change_password(server, "guest", "third")
    config = daemon.directory / "celeryconfig.py"
    config.write_text(config.read_text().replace("guest:fresh@", "guest:third@"))
    application.put("3.0", broken)

    asked = daemon.ctl("rollout", "status", "--timeout", "30s")
    assert asked.returncode == 75, asked.stdout + asked.stderr
    assert "waiting for the environment to recover: generation 4 does not start either" in asked.stdout + asked.stderr
    assert before["pid"] in [one["pid"] for one in pool(daemon.status())["instances"] if one["state"] == "ready"]

    application.put("4.0")
    assert daemon.ctl("rollout", "status", "--timeout", "60s").returncode == 0
    (fresh,) = pool(daemon.wait_until("a worker on 4.0", settled_on("4.0", 1)))["instances"]
    _restart(daemon, fresh, "4.0")


def _restart(daemon: Daemon, before: dict[str, Any], version: str) -> None:
    """Kill a worker, and wait until it is back: it connects anew."""
    os.kill(before["pid"], signal.SIGKILL)
    back = daemon.wait_until(
        "its restart", lambda now: settled_on(version, 1)(now) and pool(now)["instances"][0]["pid"] != before["pid"]
    )
    assert pool(back)["instances"][0]["name"] == before["name"]
