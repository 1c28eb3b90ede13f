"""The state directory's file system is full to the last byte, or read-only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import file_systems
from tests.support.daemon import Daemon, Status, settled_on
from tests.support.sample import APP, Application, good
from tests.support.upgrade import Setting

SIZE = "96m"  # the first copy of the application's environment takes half of it
ROOM = 1 << 20  # bytes: enough for the history


@pytest.fixture
def small(short_path: Path) -> Iterator[Path]:
    """The state directory, on a file system of its own."""
    with file_systems.tmpfs(short_path / "state", f"size={SIZE}") as state:
        yield state


def fill(folder: Path) -> None:
    """To the last byte."""
    with (folder / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with (folder / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x")


def pids(status: Status) -> dict[str, int]:
    return {i["name"]: i["pid"] for pool in status["pools"] for i in pool["instances"] if i["state"] == "ready"}


def test_a_worker_that_is_killed_is_back_and_drains_and_an_upgrade_says_how_much_is_missing(
    short_path: Path, small: Path, application: Application, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("embedded", request), acks_late=False, workers=1, concurrency=1)
    application.put("1.0")
    tables = {**setting.tables(application), "rollout": {"min_ready": "0s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("a worker", settled_on("1.0", 1))
        [first] = pids(daemon.status()).values()
        fill(small)
        os.kill(first, signal.SIGKILL)
        daemon.wait_until("a worker is back", lambda status: first not in pids(status).values() and bool(pids(status)))
        os.truncate(small / "ballast", (small / "ballast").stat().st_size - ROOM)
        large = {"shipyard/large.py": f"TEXT = '{'x' * 2 * ROOM}'\n"}
        application.install(application.wheel("1.1", {**good("1.1"), **large}))
        log = short_path / "trapd.log"
        daemon.wait_until("the shortage", lambda _: "make room for" in log.read_text())
        [second] = pids(daemon.status()).values()
        os.kill(second, signal.SIGTERM)
        daemon.wait_until("one more", lambda status: second not in pids(status).values() and bool(pids(status)))
        (small / "ballast").unlink()
        daemon.wait_until("the upgrade", settled_on("1.1", 1))
    words = log.read_text()
    assert "exited with status" not in words
    assert f"cannot make generation 2: {small}/generations: no space left on device; " in words


def test_a_trapd_that_cannot_write_its_state_says_so_and_starts_nobody(short_path: Path, small: Path) -> None:
    """The history would not know of a worker that it started; and a worker that runs needs no trapd."""
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with Daemon(short_path, celeryconfig="broker_url = 'memory://'\n", tables={"app": {"app": APP}}) as daemon:
        assert daemon.process is not None
        assert daemon.process.wait(60) not in (0, None)
        assert "read-only file system" in daemon.words().lower()
        assert daemon.living() == set()
