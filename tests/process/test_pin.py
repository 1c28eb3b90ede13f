"""A real run that pins the code: `trapctl pin` beside a real trapd, over a restart of it, and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import pinned
from tests.support.daemon import BIN, Daemon, Status, pool, settled_on
from tests.support.pinned import waits
from tests.support.sample import Application
from tests.support.upgrade import Setting

# Says which generation it has got, and ends with status 7 at the end of its input or when it is told to.
RUN = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(42))
print(os.environ["TRAPD_PIN_GENERATION"], len(os.environ["TRAPD_PIN_DIGEST"]), flush=True)
sys.stdin.read()
sys.exit(7)
"""


@pytest.fixture
def daemon(request: pytest.FixtureRequest, application: Application, short_path: Path) -> Iterator[Daemon]:
    """trapd with one worker, ready on 1.0."""
    setting = Setting(make_broker("embedded", request), acks_late=False, workers=1, concurrency=1)
    application.put("1.0")
    tables = {**setting.tables(application), "rollout": {"min_ready": "0s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as running:
        running.wait_until("workers on 1.0", settled_on("1.0", 1))
        yield running


@contextlib.contextmanager
def run(daemon: Daemon, *command: str) -> Iterator[subprocess.Popen[str]]:
    """``trapctl pin -- COMMAND``; by default RUN, once it has said its first line."""
    words = [str(BIN / "trapctl"), "--config", str(daemon.config), "pin", "--"]
    given = command or (sys.executable, "-c", RUN)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*words, *given], text=True, **pipes) as running:  # type: ignore[call-overload]
        try:
            yield running
        finally:
            running.kill()


def recycled(status: Status) -> bool:
    return [instance["generation"] for instance in pool(status)["instances"]] == [2]


def rolls_out(status: Status) -> bool:
    return pool(status)["rollout"]["ended"] is None and not waits(status)


def words(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Let the run end; its exit status, and what trapctl said."""
    said = running.communicate(timeout=30)[1]
    return running.returncode, said


@dataclass
class Stage:
    """For tests/support/pinned.py."""

    application: Application
    daemon: Daemon
    running: subprocess.Popen[str]

    def wait_until(self, what: str, true: Callable[[Status], bool]) -> Status:
        return self.daemon.wait_until(what, true)

    def install_next(self) -> None:
        self.application.install(self.application.wheel("1.1"))

    def restart(self) -> None:
        self.daemon.stop()
        self.daemon.start()

    def end_the_run(self) -> tuple[int, str]:
        return words(self.running)


def test_an_upgrade_waits_for_the_run_over_a_restart_of_trapd(application: Application, daemon: Daemon) -> None:
    with run(daemon) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "1 64\n"
        stage = Stage(application, daemon, running)
        [pin] = pool(pinned.an_upgrade_waits(stage, 1))["pins"]
        asked = daemon.ctl("rollout", "status", "--no-wait").stdout
        assert f"{pin['actor']} pins generation 1, for {sys.executable} -c" in asked
        assert " pins generation 1" in daemon.ctl("why", "default").stdout
        assert "cannot undo default: " in daemon.ctl("rollout", "undo", "default").stderr
        assert daemon.ctl("recycle", "--no-wait").returncode == 0  # of the same code
        daemon.wait_until("the recycle", lambda now: recycled(now) and settled_on("1.0", 1)(now))
        pinned.the_pin_is_kept_over_a_restart(stage, "1.0", "1.1", 1)


def test_what_ends_a_pin_and_what_its_command_hears(application: Application, daemon: Daemon) -> None:
    with run(daemon) as running:  # a signal reaches the command, and its exit status comes back
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 42
    assert daemon.ctl("pin", "--", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL
    assert daemon.ctl("pin", "--", "no-such-program").returncode == 2

    with run(daemon) as running:  # SIGKILL of the holder
        assert running.stdout is not None
        running.stdout.readline()
        application.install(application.wheel("1.1"))
        daemon.wait_until("the upgrade to wait", waits)
        running.kill()
        daemon.wait_until("workers on 1.1", settled_on("1.1", 1))

    with run(daemon, "sh", "-c", "echo; read x; exit 0") as running:  # an operator overrides
        assert running.stdout is not None
        running.stdout.readline()
        application.install(application.wheel("1.2"))
        daemon.wait_until("the upgrade to wait", waits)
        assert daemon.ctl("rollout", "promote", "default").returncode == 0
        daemon.wait_until("the rollout", rolls_out)
        with run(daemon, "sh", "-c", "echo $TRAPD_PIN_GENERATION") as later:  # begins during a rollout
            assert later.stdout is not None
            generation = later.stdout.readline().strip()
            status, said = words(later)
            assert (status, "waiting: the run begins when rollout " in said) == (0, True), said
        daemon.wait_until("workers on 1.2", settled_on("1.2", 1))
        assert generation == str(pool(daemon.status())["generation"])
        ended, said = words(running)
    assert ended == 75, said  # the command succeeded, and met two versions
    assert "is over: overridden by" in said


def test_a_pin_that_outlives_its_time_and_a_rollout_that_waits_for_a_person(
    application: Application, daemon: Daemon
) -> None:
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace('min_ready = "0s"', 'min_ready = "0s"\nlongest_pin = "2s"'))
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGHUP)
    daemon.wait_until("the settings", lambda _: "read" in (daemon.directory / "trapd.log").read_text())
    with run(daemon, "sh", "-c", "echo; read x; exit 0") as running:
        assert running.stdout is not None
        running.stdout.readline()
        application.install(application.wheel("1.1"))
        daemon.wait_until("workers on 1.1", settled_on("1.1", 1))
        ended, said = words(running)
        assert (ended, "it lasted as long as any pin may, [rollout] longest_pin" in said) == (75, True)

    assert daemon.ctl("rollout", "pause", "default").returncode == 0
    application.install(application.wheel("1.2"))
    daemon.wait_until("the rollout", lambda now: pool(now)["rollout"]["ended"] is None)
    answer = daemon.ctl("pin", "--", "echo", "begun")
    assert (answer.returncode, answer.stdout) == (75, "")
    assert "is paused: a person has to resume it; trapctl rollout resume default" in answer.stderr
    assert daemon.ctl("rollout", "resume", "default").returncode == 0
    daemon.wait_until("workers on 1.2", settled_on("1.2", 1))
