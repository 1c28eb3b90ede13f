"""A whole trapd tells: by a command of [notify], by the file for node_exporter; and the next trapd tells of its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.daemon import Daemon, Table


def wait(what: str, true: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {timeout:g} s"
        time.sleep(0.05)


def test_events_and_metrics_leave_trapd_and_a_killed_trapd_is_told_by_the_next(short_path: Path) -> None:
    told, textfile = short_path / "told", short_path / "trapd.prom"
    tables: dict[str, Table] = {
        "app": {"app": "nothing:app"},
        "watch": {"distributions": ["nothing-of-this-name"], "quiet_period": "50ms", "ceiling": "200ms"},
        "notify": {"command": ["/bin/sh", "-c", f"cat >> {told}"], "on": ["trapd-lost"]},
        "metrics": {"textfile": str(textfile), "every": "1s"},
        "pools": {"default": {"workers": 0}},
    }

    def kinds() -> list[str]:
        lines = told.read_text().splitlines() if told.exists() else []
        return [json.loads(line)["event"]["kind"] for line in lines]

    with Daemon(short_path, celeryconfig="", tables=tables) as daemon:
        wait("answer", lambda: daemon.ctl("notify").returncode == 0)
        assert kinds() == ["notify-test"]
        wait("file", textfile.exists)
        daemon.kill()
        daemon.start()
        wait("word of the end", lambda: kinds() == ["notify-test", "trapd-lost"])

        def figures() -> set[tuple[str, float]]:
            families = text_string_to_metric_families(daemon.ctl("metrics").stdout)
            return {(sample.name, sample.value) for family in families for sample in family.samples if family.name}

        wait("broken disk", lambda: ("trapd_disk_broken", 1.0) in figures())
        wait("the same in the file", lambda: "\ntrapd_disk_broken 1\n" in textfile.read_text())
        events = json.loads(daemon.ctl("events", "--json").stdout)["events"]
        assert [event["kind"] for event in events if event["kind"].startswith("trapd-")] == [
            "trapd-started",
            "trapd-lost",
            "trapd-started",
        ]
