"""``make run`` itself on the real Trap: the main job end to end, and Trap's task in one process.

Trap's environment is the one that ``make run`` keeps; making it takes a minute, once.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from demo import images
from demo.processes import Processes
from demo.trapenv import TrapEnvironment, default_place
from tests.support.demonstration import demonstration
from tests.support.trap_lab import compiled

pytestmark = pytest.mark.together  # one at a time may use it

ROOT = Path(__file__).parents[2]
FIGURE = re.compile(r"  (?P<what>\S.*?)  +(?P<figure>\d\S*)")


@pytest.fixture
def numba(pytestconfig: pytest.Config) -> Path:
    return compiled(pytestconfig)


@pytest.mark.timeout(1860)
def test_trap_is_upgraded_under_running_workers_and_nobody_notices(short_path: Path, numba: Path) -> None:
    # images take processor time from the tests beside
    with demonstration(short_path, "--rate", "1", NUMBA_CACHE_DIR=str(numba)) as run:
        status = run.process.wait(1800)
    words = run.words()
    # beside five other lanes of tests the processors decide how long nobody has one to end a task with
    complaints = [line for line in words.splitlines() if line.startswith("NOT GOOD") and "the longest gap" not in line]
    assert complaints == [], words
    assert status == ("NOT GOOD" in words), words
    figures = {found["what"]: found["figure"] for found in FIGURE.finditer(words)}
    assert {what: figures[what] for what in ("lost", "run twice", "unanswered", "rollouts for the one upgrade")} == {
        "lost": "0",
        "run twice": "0",
        "unanswered": "0",
        "rollouts for the one upgrade": "1",
    }
    assert figures["images of the series, by trapctl run"] == "12", words
    assert "12  (all on trap 1.3.0)" in words, "the upgrade was installed in the middle of the run"
    assert re.search(r"its database and that of trap-run +equal ", words)
    order = (
        "the code is pinned by a run",
        "pip has ended after",
        "the run has ended with status 0",
        "rollout preflight: ",
    )
    assert sorted(order, key=words.rindex) == [*order], words  # the first start is a rollout, too
    assert figures["tasks submitted"] == figures["done"]
    assert int(figures["ran on trap 1.3.0"]) > 20  # 20 s before the upgrade, and while the new ones start
    assert int(figures["ran on trap 1.4.0"]) > 10  # 15 s after the recycle
    assert "8 to 9  (12 of 12 images exactly as made)" in words
    assert re.search(r"workers current at the end +2 of 2", words)
    assert run.left_behind() == []


EAGER = """
import json, os, sys
from pathlib import Path
from trapd.worker import numba_cache

cache = numba_cache.wanted(Path(os.environ["NUMBA_CACHE_DIR"]), os.environ)
from trapd.distribute import smoke
from trapd.distribute.app import app
from trapd.distribute.submit import extract

smoke.known_source()
cache.publish()
answers = extract(app, sys.argv[1:])
print(json.dumps([[answer.error, len(answer.result["sources"])] for answer in answers]))
"""


@pytest.mark.timeout(600)
def test_with_always_eager_trap_runs_in_one_process_and_bad_images_are_answers(tmp_path: Path, numba: Path) -> None:
    trap = TrapEnvironment(default_place(tmp_path), Processes(tmp_path))
    trap.prepare("1.4.0", lambda: None)
    series = images.make(tmp_path / "images")
    cut, text = tmp_path / "cut.fits", tmp_path / "text.fits"
    cut.write_bytes(Path(series[0].path).read_bytes()[:20_000])
    text.write_text("no image\n")
    (tmp_path / "celeryconfig.py").write_text("CELERY_ALWAYS_EAGER = True\n")
    paths = [series[0].path, str(cut), str(text), str(tmp_path / "none.fits"), series[5].path]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "NUMBA_CACHE_DIR": str(numba)}
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
