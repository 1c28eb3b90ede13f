"""``make run`` itself: the main job end to end and Trap's task in one process, both on the real Trap; and Ctrl-C at its
stages, on a stand-in that is imported in 5 s of sleep instead of 35 s of work.

Trap's environment is the one that ``make run`` keeps; making it takes a minute, once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo import images
from demo.drive import NEW, OLD
from demo.processes import Processes, marked
from demo.trapenv import TrapEnvironment, default_place
from tests.support import environments, sample
from tests.support.wheels import write_wheel

ROOT = Path(__file__).parents[2]
FIGURE = re.compile(r"  (?P<what>\S.*?)  +(?P<figure>\d\S*)")


class Demonstration:
    """The command, with its temporary files in a folder of the test."""

    def __init__(self, place: Path, *arguments: str, **environment: str) -> None:
        self.place, self.out = place, place / "out"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "demo", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(place), **environment},
                start_new_session=True,
            )

    def words(self) -> str:
        return self.out.read_text()

    def wait_for(self, words: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while words not in self.words():
            assert self.process.poll() is None, self.words()
            assert time.monotonic() < deadline, self.words()
            time.sleep(0.1)

    def left_behind(self) -> list[str]:
        """Files in its folder, and processes whose temporary files were to be there."""
        (self.place / "out").unlink()
        files = [str(path) for path in self.place.iterdir()]
        return files + list(marked(f"TMPDIR={self.place}").values())


@contextmanager
def demonstration(place: Path, *arguments: str, **environment: str) -> Iterator[Demonstration]:
    one = Demonstration(place, *arguments, **environment)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGINT)
            one.process.wait(90)


@pytest.mark.timeout(960)
@pytest.mark.xdist_group("the real Trap, of which one environment is kept")
def test_trap_is_upgraded_under_running_workers_and_nobody_notices(short_path: Path) -> None:
    with demonstration(short_path) as run:
        status = run.process.wait(900)
    words = run.words()
    assert status == 0, words
    figures = {found["what"]: found["figure"] for found in FIGURE.finditer(words)}
    assert {what: figures[what] for what in ("lost", "run twice", "unanswered", "rollouts for the one upgrade")} == {
        "lost": "0",
        "run twice": "0",
        "unanswered": "0",
        "rollouts for the one upgrade": "1",
    }
    assert figures["tasks submitted"] == figures["done"]
    assert int(figures["ran on trap 1.3.0"]) > 80  # 20 s before the upgrade, and while the new ones start
    assert int(figures["ran on trap 1.4.0"]) > 50  # 15 s after the recycle
    assert "8 to 9  (12 of 12 images exactly as made)" in words
    assert "workers current at the end                    2 of 2" in words
    assert run.left_behind() == []


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


EAGER = """
import json, sys
from trapd.distribute import smoke
from trapd.distribute.app import app
from trapd.distribute.submit import extract

smoke.known_source()
answers = extract(app, sys.argv[1:])
print(json.dumps([[answer.error, len(answer.result["sources"])] for answer in answers]))
"""


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("the real Trap, of which one environment is kept")
def test_with_always_eager_trap_runs_in_one_process_and_bad_images_are_answers(tmp_path: Path) -> None:
    trap = TrapEnvironment(default_place(tmp_path), Processes(tmp_path))
    trap.prepare("1.4.0", lambda: None)
    series = images.make(tmp_path / "images")
    cut, text = tmp_path / "cut.fits", tmp_path / "text.fits"
    cut.write_bytes(Path(series[0].path).read_bytes()[:20_000])
    text.write_text("no image\n")
    (tmp_path / "celeryconfig.py").write_text("CELERY_ALWAYS_EAGER = True\n")
    paths = [series[0].path, str(cut), str(text), str(tmp_path / "none.fits"), series[5].path]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [trap.python, "-c", EAGER, *paths], env=env, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    trap.close()
    assert json.loads(done.stdout.splitlines()[-1]) == [
        ["", 8],
        [f"cannot extract sources from {cut}: TypeError: buffer is too small for requested array", 0],
        [f"cannot read {text}: unsupported format: {text}", 0],
        [f"cannot read {tmp_path / 'none.fits'}: No such file or directory", 0],
        ["", 9],
    ]
