"""trapd as process 1 of a container without ``--init``; the container is a pid namespace."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ended
from tests.support.worker_lab import wait

BIN = Path(sys.executable).parent
CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]

# What tasks do: children that leave a child of their own behind. What trapd does: wait for its own.
LEAVES_HELPERS = """
import os, subprocess, sys, time
from pathlib import Path
from trapd.first_process import go_on_in_a_child
if (status := go_on_in_a_child()) is not None:
    sys.exit(status)
for _ in range(10):
    assert subprocess.run(["sh", "-c", "sleep 0.2 & exit 7"]).returncode == 7
def zombies():
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path("/proc").glob("[0-9]*/stat")]
    return states.count("Z")
deadline = time.monotonic() + 5
time.sleep(0.3)
while zombies() and time.monotonic() < deadline:
    time.sleep(0.05)
print(os.getpid() != 1, zombies(), flush=True)
sys.exit(5)
"""


def test_who_was_left_behind_is_reaped_and_own_children_are_not() -> None:
    done = subprocess.run(
        [*CONTAINER, sys.executable, "-c", LEAVES_HELPERS], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout.split(), done.returncode) == (["True", "0"], 5), done.stderr


def test_trapd_itself_is_started_so_and_its_exit_status_is_that_of_the_container(tmp_path: Path) -> None:
    config = tmp_path / "trapd.toml"
    config.write_text("[trapd]\nbackend = 7\n")
    done = subprocess.run(
        [*CONTAINER, str(BIN / "trapd"), "--config", str(config)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 78, done.stderr
    assert "backend" in done.stderr


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    code = (
        "import signal, sys, time\nfrom trapd.first_process import go_on_in_a_child\n"
        "if (status := go_on_in_a_child()) is not None: sys.exit(status)\n"
        "signal.signal(signal.SIGHUP, lambda *_: print('again', flush=True))\n"
        "print('up', flush=True)\nwhile True: time.sleep(1)\n"
    )
    with subprocess.Popen([*CONTAINER, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as container:
        yield container
        container.kill()


def test_signals_reach_trapd_and_its_end_is_that_of_the_container(sleeper: subprocess.Popen[str]) -> None:
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "up\n"
    children = Path(f"/proc/{sleeper.pid}/task/{sleeper.pid}/children").read_text().split()
    first = int(children[0])
    subprocess.run(["kill", "-HUP", str(first)], check=True)
    assert sleeper.stdout.readline() == "again\n"
    subprocess.run(["kill", "-TERM", str(first)], check=True)
    assert sleeper.wait(10) == 128 + signal.SIGTERM
    wait(lambda: ended(first))
