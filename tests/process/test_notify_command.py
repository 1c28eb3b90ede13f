"""The command of [notify], run for real."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import psutil
import pytest

from trapd.control.notify_command import run

EVENT = {"schema": 2, "host": "lofar3", "event": {"id": 7, "reason": "ü" * 100_000}}


def tell(script: str, limit: float = 30.0) -> str:
    return asyncio.run(run(["/bin/sh", "-c", script], EVENT, limit))


def test_it_reads_the_event_as_one_line(tmp_path: Path) -> None:
    assert tell(f'read -r line && printf %s "$line" > {tmp_path / "said"}') == ""
    assert json.loads((tmp_path / "said").read_text()) == EVENT


def test_it_need_not_read_its_input(capfd: pytest.CaptureFixture[str]) -> None:
    assert tell("echo done") == ""
    assert capfd.readouterr().out == "done\n"


def test_why_it_failed_is_said() -> None:
    assert tell("exit 3") == "/bin/sh ended with status 3; what it wrote is in trapd's log"
    assert tell("kill -9 $$") == "/bin/sh was killed by signal 9; what it wrote is in trapd's log"
    missing = asyncio.run(run(["/nowhere/mail"], EVENT, 1.0))
    assert missing == "/nowhere/mail cannot be run: no such file or directory"


def test_one_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    begun = time.monotonic()
    file = tmp_path / "pid"
    assert "had not ended after 0.5 s" in tell(f"sleep 300 & echo $! > {file}; wait", limit=0.5)
    assert time.monotonic() - begun < 20
    pid = int(file.read_text())
    while not gone(pid):  # SIGKILL was sent; the kernel may take a moment
        assert time.monotonic() - begun < 20
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Also if nobody has reaped it yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
