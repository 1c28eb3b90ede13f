"""Who stands still, and who is blamed for it: trapd itself, a worker, new code. On the embedded backend."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting

pytestmark = pytest.mark.timeout(180)
WATCHDOG = 3.0  # s

BLOCKS = dedent("""
    from celery.signals import worker_ready


    @worker_ready.connect
    def block(sender, **_):
        sender.timer.call_after(1.0, time.sleep, (1000,))
    """)


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        os.kill(pid, number)


def pids(status: Status, generation: int) -> dict[str, int]:
    return {one["name"]: one["pid"] for one in pool(status)["instances"] if one["generation"] == generation}


def test_trapd_judges_nobody_after_it_stood_still_and_code_by_whether_its_loop_turns(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("redis", request), acks_late=False, workers=2, concurrency=2)
    tables = setting.tables(application)
    tables["trapd"] = {"watchdog": f"{WATCHDOG:g}s"}
    application.put("1.0")
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        before = pids(daemon.wait_until("workers", settled_on("1.0", 2)), 1)
        path, app = short_path / "ledger.jsonl", setting.broker.app()
        sent = {app.send_task(sample.NAP, (8.0, str(path))).id for _ in range(4)}
        while len(sample.read_ledger(path)) < 4:
            time.sleep(0.1)

        # the machine, or the container, is paused
        assert daemon.process is not None
        everybody = daemon.living()
        send(signal.SIGSTOP, everybody)
        time.sleep(WATCHDOG + 3)
        send(signal.SIGCONT, [daemon.process.pid])
        time.sleep(0.3)
        send(signal.SIGCONT, everybody)
        time.sleep(2)
        assert pids(daemon.wait_until("workers", settled_on("1.0", 2)), 1) == before
        assert "trapd itself stood still" in daemon.words()

        # one worker is
        victim = before["default@1-1"]
        send(signal.SIGSTOP, [victim])

        def told(status: Status) -> bool:
            silent = any("default@1-1 gives no sign of life for " in problem for problem in pool(status)["problems"])
            return silent and pool(status)["ready"] == 1

        daemon.wait_until("word of its silence", told, timeout=WATCHDOG + 5, every=0.1)
        send(signal.SIGCONT, [victim])
        served = pids(daemon.wait_until("workers", settled_on("1.0", 2)), 1)
        while sum(entry.event == "end" for entry in sample.read_ledger(path)) < 4:
            time.sleep(0.1)
        assert {entry.id for entry in sample.read_ledger(path)} == sent
        assert len(sample.read_ledger(path)) == 8, "a task ran twice"

        # new code blocks its main loop a moment after READY
        files = sample.good("2.0")
        files["shipyard/jobs.py"] += BLOCKS
        application.install(application.wheel("2.0", files))
        over = daemon.wait_until(
            "end of the rollout",
            lambda status: (pool(status)["rollout"] or {})["id"] == 2 and pool(status)["rollout"]["ended"] is not None,
        )
        assert pool(over)["rollout"]["state"] == "rejected"
        assert "its main loop stopped turning" in pool(over)["rollout"]["reason"]
        assert set(served.values()) & set(pids(over, 1).values()), "nobody paid for it"
        told_of = daemon.ctl("why", "2").stdout
        assert "promoted" not in told_of
