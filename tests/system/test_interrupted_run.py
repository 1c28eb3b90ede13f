"""Ctrl-C at the stages of ``make run``, on a stand-in for Trap: 5 s of sleep at its import instead of 35 s of work."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from demo.drive import NEW, OLD
from tests.support import environments, sample
from tests.support.demonstration import Demonstration, demonstration
from tests.support.wheels import write_wheel

STAND_IN = """
import time

time.sleep(5)


class Table(list):
    def to_dict(self, kind):
        return self


def read_pyse_image(path, **options):
    return path, {"rms": 0.01}, False


def sources_from_fits_pyse(image, rejected):
    from trapd.distribute.smoke import SIZE, SOURCE

    ra, dec = SOURCE.position(SIZE)
    return Table([{"ra": ra, "dec": dec, "peak_flux": SOURCE.peak}])
"""


@pytest.fixture(scope="session")
def stand_in(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str]]:
    """Arguments and variables with which ``make run`` installs a stand-in for Trap."""
    assert pytestconfig.cache is not None
    home = tmp_path_factory.mktemp("stand-in")
    environments.copy(pytestconfig.cache.mkdir("environments"), home / "trap", sample.CELERY)
    (home / "trap/whole").touch()
    write_wheel(home / "wheels", "radio-pyse", "0.7.0", {"sourcefinder/__init__.py": ""})
    for version in (OLD, NEW):
        files = {"trap/__init__.py": "", "trap/source_extraction.py": STAND_IN}
        write_wheel(home / "wheels", "trap", version, files, requires=["radio-pyse==0.7.0"])
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(home / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    return ["--trap", str(home / "trap")], pip


def test_ctrl_c_while_pip_fills_traps_environment_removes_it(short_path: Path) -> None:
    with demonstration(short_path, "--trap", str(short_path / "trap")) as run:
        interrupt(run, "pip install trap==1.3.0")
    (short_path / "trap.lock").unlink(missing_ok=True)
    assert run.left_behind() == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stage", ["default@1-1 starting", "default@2-1 starting"])
def test_ctrl_c_ends_it_and_leaves_nothing_behind(
    short_path: Path, stand_in: tuple[list[str], dict[str, str]], stage: str
) -> None:
    arguments, variables = stand_in
    with demonstration(short_path, *arguments, **variables) as run:
        interrupt(run, stage)
    assert run.left_behind() == []


def interrupt(run: Demonstration, stage: str) -> None:
    run.wait_for(stage, 240)
    time.sleep(3)  # into the middle of it
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(60) == 130, run.words()
    assert "Interrupted: everything was stopped and removed." in run.words()
