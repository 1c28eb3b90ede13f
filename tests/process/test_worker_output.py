"""Where what workers write goes when trapd runs them: to files, and in a container to trapd's own output."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.daemon import Daemon, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting

STAMP = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d")
ASK = """
from trapd.first_process import in_container
from trapd.layout import SYSTEMD_BOOTED
print(in_container(SYSTEMD_BOOTED))
"""


@pytest.mark.parametrize("where", ["stdout", "auto"])
def test_each_line_has_one_time_and_where_it_is_asked_for_is_also_on_trapds_own_output(
    short_path: Path, application: Application, request: pytest.FixtureRequest, where: str
) -> None:
    setting = Setting(make_broker("embedded", request), acks_late=False, workers=1, concurrency=1)
    application.put("1.0")
    tables = setting.tables(application)
    tables = {**tables, "trapd": {**tables.get("trapd", {}), "worker_logs": where}, "rollout": {"min_ready": "0s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("a worker", settled_on("1.0", 1))
        daemon.stop()
        lines = (daemon.state / "logs/default@1-1.log").read_text().splitlines()
        out = (short_path / "trapd.log").read_text().splitlines()
    relayed = [line.removeprefix("default@1-1 | ") for line in out if line.startswith("default@1-1 | ")]
    assert relayed == (lines if where == "stdout" else []), "this is no container"
    assert len(lines) > 2
    logged = [line for line in [*lines, *out] if "/MainProcess] " in line or " trapd." in line]
    assert any("trapd-worker: default@1-1 runs generation 1" in line for line in logged)
    assert [line for line in logged if len(STAMP.findall(line)) != 1] == []


def test_a_container_is_told_by_who_is_process_1() -> None:
    def ask(*around: str, code: str = ASK) -> str:
        return subprocess.run([*around, sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()

    container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    assert ask() == "False"
    assert ask(*container) == "True"
    assert ask(*container, "sh", "-c", '"$@"; exit', "sh") == "True", "as docker run --init has it"
