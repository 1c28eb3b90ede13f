"""Files of a generation are damaged while the same code is installed whole: it is made anew, not copied on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting


def harm(file: Path) -> str:
    """Other bytes, as many; returns those that were there."""
    text = file.read_text()
    file.chmod(0o600)
    file.write_text("#" * len(text))
    return text


def on(number: int) -> Callable[[Status], bool]:
    def true(status: Status) -> bool:
        found = pool(status)["instances"]
        return settled_on("1.0", 1)(status) and {instance["generation"] for instance in found} == {number}

    return true


def test_it_is_made_anew_at_a_recycle_when_trapd_starts_and_when_a_start_fails(
    short_path: Path, application: Application, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("embedded", request), acks_late=False, workers=1, concurrency=1)
    application.put("1.0")
    tables = {**setting.tables(application), "rollout": {"min_ready": "0s"}}
    module = "code/shipyard/__init__.py"
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        generations = daemon.state / "generations"
        daemon.wait_until("a worker", on(1))
        whole = harm(generations / "1" / module)
        assert daemon.ctl("recycle", "--wait").returncode == 0
        daemon.wait_until("the second", on(2))
        assert (generations / "2" / module).read_text() == whole

        daemon.stop()
        harm(generations / "2/manifest.json")
        daemon.start()
        daemon.wait_until("the third", on(3))
        assert (generations / "3" / module).read_text() == whole

        harm(generations / "3" / module)
        os.kill(pool(daemon.status())["instances"][0]["pid"], signal.SIGKILL)
        daemon.wait_until("the fourth", on(4))
        assert (generations / "4" / module).read_text() == whole
        status = daemon.status()
        assert status["problems"] == pool(status)["problems"] == []
