"""A worker that takes no tasks any more is replaced by a real trapd, and what waited runs. On the embedded backend."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting

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
        after = daemon.wait_until(
            "other workers", lambda status: settled_on("1.0", 2)(status) and not names(before) & names(status)
        )
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


def names(status: Status, name: str = "default") -> set[str]:
    return {instance["name"] for instance in pool(status, name)["instances"]}
