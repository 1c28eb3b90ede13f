"""The real Trap, with all that it requires: a generation holds its whole environment, and gives it back.

Only `make test-long` runs this test: see tests/system/conftest.py. pip takes a minute, each start of a worker 15 to
30 s. tests/nspawn/test_whole_trap.py has the part of it that a reboot can change.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support import environments
from tests.support.brokers import Broker
from tests.support.daemon import Daemon, Status, Table, pool, settled_on
from tests.support.two_finders import FINDER, SOURCES, write_image
from trapd.distribute.app import EXTRACT_SOURCES

pytestmark = [pytest.mark.timeout(2400), pytest.mark.long]

START = 600.0  # s, on a machine that does much else
AT_ONCE = 20.0  # s from the death of a worker to the start of the next; on a machine at rest 2 s


class Trap:
    """Trap's environment, a trapd with one worker, and an image."""

    def __init__(self, python: Path, broker: Broker, folder: Path) -> None:
        self.python, self.broker, self.image = python, broker, write_image(folder / "image.fits")
        tables: dict[str, Table] = {
            "app": {"python": str(python)},
            "rollout": {"min_ready": "1s"},
            "pools.default": {"workers": 1, "concurrency": 1},
        }
        self.daemon = Daemon(folder, celeryconfig=broker.celeryconfig(), tables=tables)

    def pip(self, *arguments: str) -> None:
        environments.pip(self.python, *arguments)

    def wait(self, what: str, true: Callable[[Status], bool], timeout: float = START) -> Status:
        return self.daemon.wait_until(what, true, timeout=timeout)

    def runs(self, version: str) -> None:
        """Wait for the worker on this version, and check what it finds in the image."""
        self.wait(f"a worker on {version}", settled_on(version, 1, "trap"))
        answer: dict[str, Any] = self.broker.app().send_task(EXTRACT_SOURCES, (str(self.image),)).get(timeout=120)
        assert answer["error"] is None
        assert answer["versions"].items() >= {"trap": version, "radio-pyse": FINDER[version]}.items()
        assert {"numba", "numpy"} <= set(answer["versions"])
        assert answer["digest"]
        assert len(answer["sources"]) == SOURCES[version]

    def lacks(self, library: str) -> None:
        """Wait until trapd says that the installed environment lacks this library."""
        status = self.wait("a broken disk", lambda status: status["disk"]["state"] == "broken")
        assert f"requires {library}" in status["disk"]["reason"]
        told = self.daemon.ctl("status")
        assert told.returncode == 1
        assert library in told.stdout

    def kill_the_worker(self) -> float:
        """SIGKILL; return the seconds until the next process is there."""
        [worker] = pool(self.daemon.status())["instances"]
        os.kill(worker["pid"], signal.SIGKILL)
        killed = time.monotonic()
        self.daemon.wait_until("another process", lambda status: self._another(status, worker["pid"]), every=0.1)
        seconds = time.monotonic() - killed
        print(f"another process after {seconds:.1f} s")
        return seconds

    @staticmethod
    def _another(status: Status, pid: int) -> bool:
        states = [instance["state"] for instance in pool(status)["instances"] if instance["pid"] not in (None, pid)]
        return states in (["starting"], ["ready"])


@pytest.fixture
def trap(request: pytest.FixtureRequest, pytestconfig: pytest.Config, short_path: Path) -> Iterator[Trap]:
    """The environment has 0.9 GB: it lies in a folder that is gone after the test."""
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("whole-trap")
    python = environments.copy(kept, short_path / "venv", "trap==1.1.1", "celery[redis]>=5.5")
    trap = Trap(python, make_broker("redis", request), short_path)
    with trap.daemon:
        yield trap


def test_a_missing_library_stops_no_worker_and_undo_brings_back_the_source_finder(trap: Trap) -> None:
    trap.runs("1.1.1")

    trap.pip("uninstall", "--yes", "astropy")
    trap.lacks("astropy")
    assert trap.kill_the_worker() < AT_ONCE
    trap.runs("1.1.1")
    trap.daemon.stop()
    trap.daemon.start()  # as after a reboot
    trap.runs("1.1.1")
    trap.lacks("astropy")

    trap.pip("install", "trap==1.2.0")  # and astropy again
    trap.runs("1.2.0")
    assert trap.daemon.ctl("rollout", "undo", "default", timeout=START).returncode == 0
    trap.runs("1.1.1")
    assert trap.kill_the_worker() < AT_ONCE
    trap.runs("1.1.1")
    status = trap.daemon.ctl("status")
    assert status.returncode == 1  # what is installed does not run
    assert "trap 1.2.0" in status.stdout
