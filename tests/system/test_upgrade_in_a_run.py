"""Trap is upgraded in the middle of a run that does not hold the code. Only `make test-long` runs these tests: see
tests/system/conftest.py. tests/system/test_make_run.py has the same with a run that holds it.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import settled_on
from tests.support.trap_lab import Lab, Series, transient, trap_lab, wait

TOGETHER_WITH = "tests/system/test_make_run.py"  # Trap's environment

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]

OLD, NEW = "1.3.0", "1.4.0"  # the tables that they write differ in their columns
START = 600.0  # s, on a machine that does much else


@pytest.fixture
def lab(short_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with trap_lab(OLD, short_path, request) as lab:
        yield lab


def run_over_an_upgrade(lab: Lab, series: Series, policy: str) -> tuple[int, str]:
    """Return the exit status, and what the user was told. The submitter stands still while the worker is replaced, so
    that both versions answer."""
    with lab.daemon() as daemon:
        daemon.wait_until(f"a worker on {OLD}", settled_on(OLD, 1, "trap"), START)
        run = lab.trapctl_run(daemon, series, "--on-upgrade", policy, "--in-flight", "1")
        wait(lambda: lab.begun() >= 4, run)
        submitter = submitter_of(run)
        submitter.send_signal(signal.SIGSTOP)
        lab.upgrade(NEW)
        daemon.wait_until(f"a worker on {NEW}", settled_on(NEW, 1, "trap"), START)
        submitter.send_signal(signal.SIGCONT)
        told = run.communicate(timeout=START)[1]
    return run.returncode, told


def submitter_of(run: subprocess.Popen[str]) -> psutil.Process:
    [submitter] = psutil.Process(run.pid).children()
    return submitter


def test_with_redo_the_database_is_that_of_trap_run_on_the_version_that_won(lab: Lab) -> None:
    series = transient(lab.place)
    status, told = run_over_an_upgrade(lab, series, "redo")
    assert status == 0, told
    assert "generation 2 is the one to run by now: the run goes on there, from the kept answers" in told
    lab.reference(series)  # on the version that is installed by now
    lab.is_equal(series)
    assert lab.rows(series, "select state, codes, trap from trapd_run") == [("complete", 1, NEW)]
    assert lab.rows(series, "select distinct trap, generation from trapd_provenance") == [(NEW, 2)]
    kept, again = (
        lab.rows(series, f"select count(*) from trapd_provenance where attempts {number}")[0][0]
        for number in ("= 0", "> 0")
    )
    assert kept + again == 12
    assert kept, "the new version had answered for them"
    assert again >= 3, "the old version had answered for them"


def test_with_mix_the_database_and_the_exit_status_say_so(lab: Lab) -> None:
    series = transient(lab.place)
    status, told = run_over_an_upgrade(lab, series, "mix")
    assert status == 25, told
    assert "NOT COMPARABLE" in told
    assert lab.rows(series, "select state, codes, trap from trapd_run") == [("mixed", 2, OLD)]
    images = dict(lab.rows(series, "select trap, count(*) from trapd_provenance group by trap"))
    assert images.keys() == {OLD, NEW}
    assert sum(images.values()) == 12
