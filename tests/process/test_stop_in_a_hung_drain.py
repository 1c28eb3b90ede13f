"""trapd is told to stop, twice, while a worker hangs in its drain: it ends, and so does the worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.daemon import Daemon, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting
from trapd.contracts import STOP_TIME
from trapd.history import SqliteHistory

MORE = 25.0  # s: until it is asked to abort, until it is killed, and for a busy machine


@pytest.mark.timeout(240)
def test_a_trapd_that_is_stopped_twice_while_a_drain_hangs_ends(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    """A stopped process answers nothing; nobody waits for it for ever."""
    setting = Setting(make_broker("embedded", request), acks_late=False, workers=1, concurrency=1)
    application.put("1.0")
    tables = {**setting.tables(application), "rollout": {"min_ready": "0s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        [worker] = pool(daemon.wait_until("a worker", settled_on("1.0", 1)))["instances"]
        os.kill(worker["pid"], signal.SIGSTOP)
        assert daemon.ctl("drain", worker["name"]).returncode == 0
        daemon.wait_until("a drain", lambda status: pool(status)["instances"][0]["state"] == "draining")
        assert daemon.process is not None
        began = time.monotonic()
        for _ in range(2):
            daemon.process.terminate()
            time.sleep(1)
        assert daemon.process.poll() is None, "it waits for the worker, whose drain may only take long"
        assert daemon.process.wait(STOP_TIME + MORE) == 0
        print(f"ended after {time.monotonic() - began:.0f} s")
        assert not daemon.living()
    history = SqliteHistory(daemon.state / "history.sqlite")
    try:
        [gone] = [event for event in history.events(limit=1000) if event.kind == "gone"]
    finally:
        history.close()
    assert "did not leave: no sign of life" in gone.reason
