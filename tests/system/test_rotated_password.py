"""Acceptance: after a rotation of RabbitMQ's password no undo, no rejection and no restart brings the old one back."""

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


@pytest.mark.timeout(400)  # five starts that fail, of workers and of a broker, on a busy machine
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
                _rotate_together_with_code_that_dies_in_its_probation(daemon, application, server)
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

    _replace_password(daemon, server, "guest", "fresh")
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
    """With the old password the good code before does not start either. So it is tried with the new one, and serves
    with it; the broken code is tried once more beside that."""
    broken = {**good("3.0"), f"{NAME}/__init__.py": "raise RuntimeError('no keel')\n"}
    _replace_password(daemon, server, "fresh", "third")
    application.put("3.0", broken)
    asked = daemon.ctl("rollout", "status", "--timeout", "90s")
    assert asked.returncode == 1, asked.stdout + asked.stderr
    assert "no keel" in asked.stdout + asked.stderr
    _serves_with(daemon, "third")


def _rotate_together_with_code_that_dies_in_its_probation(
    daemon: Daemon, application: Application, server: brokers.Server
) -> None:
    files = good("4.0")
    _replace_password(daemon, server, "third", "fourth")
    application.put("4.0", {**files, f"{NAME}/jobs.py": files[f"{NAME}/jobs.py"] + DIES_IN_ITS_PROBATION})
    daemon.wait_until("word of doubt", lambda _: "doubted" in [event["kind"] for event in daemon.events()], 120)
    asked = daemon.ctl("rollout", "status", "--timeout", "120s")
    assert asked.returncode == 1, asked.stdout + asked.stderr
    assert "failed (exited with status 3)" in asked.stdout + asked.stderr
    _serves_with(daemon, "fourth")


def _replace_password(daemon: Daemon, server: brokers.Server, old: str, new: str) -> None:
    brokers.change_password(server, "guest", new)
    config = daemon.directory / "celeryconfig.py"
    config.write_text(config.read_text().replace(f"guest:{old}@", f"guest:{new}@"))


def _serves_with(daemon: Daemon, password: str) -> None:
    """The good code before, with this password: also a worker that connects anew."""

    def serves(now: dict[str, Any]) -> bool:
        config = daemon.state / f"generations/{pool(now)['generation']}/etc/celeryconfig.py"
        return settled_on("1.0", 1)(now) and f"guest:{password}@" in config.read_text()

    (before,) = pool(daemon.wait_until("the good code before", serves, 120))["instances"]
    _restart(daemon, before, "1.0")


def _restart(daemon: Daemon, before: dict[str, Any], version: str) -> None:
    """Kill a worker, and wait until it is back: it connects anew."""
    os.kill(before["pid"], signal.SIGKILL)
    back = daemon.wait_until(
        "its restart", lambda now: settled_on(version, 1)(now) and pool(now)["instances"][0]["pid"] != before["pid"]
    )
    assert pool(back)["instances"][0]["name"] == before["name"]
