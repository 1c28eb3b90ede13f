"""Trap's own environment in the demonstration: kept while whole, made anew where not, one user at a time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import DemoError, Interrupted, Processes
from demo.trapenv import TrapEnvironment

GOOD, BAD, SLOW = "pass", "raise SystemExit('no such version')", "import time; time.sleep(60)"


class Environment(TrapEnvironment):
    """Its pip is whatever ``pip`` says, in Python."""

    pip = GOOD

    def _pip(self, *requirements: str) -> list[str]:
        return [sys.executable, "-c", self.pip, *requirements]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    one = Processes(tmp_path)
    yield one
    one.stop_all()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """One of an earlier run: a mere folder with an interpreter in it."""
    python = tmp_path / "trap" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (tmp_path / "trap" / "whole").touch()
    return tmp_path / "trap"


def nothing() -> None:
    pass


def test_it_is_made_where_there_is_none(tmp_path: Path, processes: Processes) -> None:
    one = Environment(tmp_path / "trap", processes)
    one.prepare("1.0", nothing)
    one.close()
    assert (tmp_path / "trap" / "pyvenv.cfg").exists()
    assert (tmp_path / "trap" / "whole").exists()


def test_a_whole_one_is_kept_for_the_next_run(place: Path, processes: Processes) -> None:
    one = Environment(place, processes)
    one.prepare("1.0", nothing)
    assert one.upgrade("2.0").wait() == 0
    one.upgraded()
    one.close()
    assert (place / "whole").exists()
    assert not (place / "pyvenv.cfg").exists(), "it was not made anew"


def test_one_whose_pip_was_interrupted_is_removed(place: Path, processes: Processes) -> None:
    one = Environment(place, processes)
    one.pip = SLOW
    with processes.signals(), pytest.raises(Interrupted):
        one.prepare("1.0", lambda: os.kill(os.getpid(), signal.SIGINT))
    processes.stop_all()
    one.close()
    assert not place.exists()


def test_one_that_was_left_half_upgraded_is_made_anew(place: Path, processes: Processes) -> None:
    (place / "whole").unlink()
    (place / "rest").touch()
    one = Environment(place, processes)
    one.prepare("1.0", nothing)
    one.close()
    assert not (place / "rest").exists()
    assert (place / "whole").exists()


def test_a_damaged_one_is_made_anew_and_pips_second_failure_is_told(place: Path, processes: Processes) -> None:
    (place / "rest").touch()
    one = Environment(place, processes)
    one.pip = BAD
    with pytest.raises(DemoError, match=r"cannot go on: pip ended with status 1:\n(.*\n)*no such version"):
        one.prepare("1.0", nothing)
    assert not (place / "rest").exists()
    one.close()
    assert not place.exists()


def test_a_failed_upgrade_is_told_and_the_environment_removed(place: Path, processes: Processes) -> None:
    one = Environment(place, processes)
    one.prepare("1.0", nothing)
    one.pip = BAD
    one.upgrade("2.0").wait()
    with pytest.raises(DemoError, match="upgrade ended with status 1"):
        one.upgraded()
    one.close()
    assert not place.exists()


def test_a_second_run_does_not_touch_the_firsts(place: Path, processes: Processes) -> None:
    first, second = Environment(place, processes), Environment(place, processes)
    first.prepare("1.0", nothing)
    with pytest.raises(DemoError, match="another run is using it; wait for it to end"):
        second.prepare("1.0", nothing)
    second.close()
    assert (place / "whole").exists()
    first.close()
    second.prepare("1.0", nothing)
    second.close()
