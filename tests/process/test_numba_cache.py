"""What numba compiled for one start serves the next one: on real numba, with two small distributions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import environments, site_packages
from tests.support.repetitions import times
from trapd.worker import imports

ROOT = Path(imports.__file__).parents[2]
AT_ONCE = 10
HITS = 2  # of three functions: nobody calls `apply` but `bend`, whose machine code contains it
# The stages of a worker's start that have to do with numba: see trapd/worker/entry.py.
START = f"""
import json, os, sys, time
exec(os.environ.get("FIRST", ""))
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from trapd.worker import numba_cache
cache = numba_cache.wanted(Path(sys.argv[1]), os.environ)
import lens
result = lens.bend(2.0)
cache.abandon() if "abandon" in sys.argv else cache.publish()
hits = sum(sum(function.stats.cache_hits.values()) for function in (lens.bend, lens.double, lens.apply))
refused = [lens.tilt(1), lens.turn(0.0)]
print(json.dumps(cache.document() | {{"result": result, "hits": hits, "refused": refused, "file": lens.__file__}}))
"""
REFUSED = {  # and are compiled at each start
    "lens.tilt": "it uses dynamic globals (such as ctypes pointers and large global arrays)",
    "lens.made.<locals>.turn": "ValueError: ctypes objects containing pointers cannot be pickled",
}
LENS = """
import ctypes
import numpy
from numba import njit
from glass import FACTOR, thick

MANY = numpy.full(200_000, 5.0)

@njit("float64(int64)")
def tilt(place):
    return MANY[place]

def made(cosine):
    @njit("float64(float64)")
    def turn(x):
        return cosine(x)
    return turn

cosine = ctypes.CDLL("libm.so.6").cos
cosine.argtypes, cosine.restype = [ctypes.c_double], ctypes.c_double
turn = made(cosine)

@njit("float64(float64)")
def double(x):
    return 2.0 * x

@njit
def apply(function, x):
    return function(x)

@njit
def bend(x):
    return apply(double, x) + thick(x)
"""
GLASS = """
import numba
FACTOR = 3.0

@numba.njit
def thick(x):
    return FACTOR * x
"""


class Site:
    """An environment with numba, ``lens``, ``glass`` that it calls, and ``other``, which they do not need."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder, self.cache = python, folder, folder / "workers"
        self.install("glass", "1.0", {"glass.py": GLASS}, "numba")
        self.install("lens", "1.0", {"lens.py": LENS}, "numba", "glass")
        self.install("other", "1.0", {"other.py": ""})

    def install(self, name: str, version: str, files: dict[str, str], *requires: str) -> None:
        site = next(self.python.parents[1].glob("lib/python3*/site-packages"))
        site_packages.install(site, name, version, files, requires=requires)

    def begin(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        command = [str(self.python), "-P", "-c", START, str(self.cache), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env={**os.environ, **environ}, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def start(self, *arguments: str, **environ: str) -> dict[str, Any]:
        """The last stages of a start are as if it went well; ``abandon``: as if its smoke test had failed. ``FIRST`` in
        its environment: Python to begin with."""
        return ended(self.begin(*arguments, **environ))

    def move(self, place: Path) -> None:
        """The same environment at another path, with files of another time, as a new generation has it."""
        subprocess.run(["cp", "-al", str(self.python.parents[1]), str(place)], check=True)
        self.python = place / "bin/python"
        for name in ("glass.py", "lens.py"):
            file = next(place.glob(f"lib/python3*/site-packages/{name}"))
            text, before = file.read_text(), file.stat().st_mtime
            file.unlink()  # it is a link to the other one
            file.write_text(text)
            assert file.stat().st_mtime != before

    @property
    def folders(self) -> set[str]:
        return {entry.name for entry in (self.cache / "numba").iterdir()}


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    document: dict[str, Any] = json.loads(output.splitlines()[-1])
    return document | {"output": output}


@pytest.fixture(scope="module")
def python(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert pytestconfig.cache is not None
    folder = tmp_path_factory.mktemp("numba")
    return environments.copy(pytestconfig.cache.mkdir("environments"), folder / "venv", "numba==0.61.2", "numpy==2.2.6")


@pytest.fixture
def site(python: Path, tmp_path: Path) -> Site:
    return Site(python, tmp_path)


def test_a_second_start_compiles_nothing_until_called_code_changes(site: Site) -> None:
    first = site.start()
    assert (first["result"], first["hits"], first["not_kept"], first["problem"]) == (10.0, 0, REFUSED, "")
    before = site.folders
    second = site.start()
    assert (second["result"], second["hits"], second["not_kept"]) == (10.0, HITS, REFUSED)
    assert first["refused"] == second["refused"] == [5.0, 1.0]
    assert "numba compiles lens.tilt at each start: it uses dynamic globals" in second["output"]

    site.install("other", "2.0", {"other.py": "NEW = 1"})
    assert site.start()["hits"] == HITS, "whatever numba does not compile does not count"
    assert site.folders == before

    installed = next(site.python.parents[1].glob("lib/python3*/site-packages/glass.py"))
    installed.write_text(GLASS.replace("3.0", "4.0"))  # a file that is called; numba itself does not notice
    edited = site.start()
    assert (edited["result"], edited["hits"]) == (12.0, 0)
    assert len(site.folders - before) == 2


def test_another_path_and_another_time_of_the_same_code_find_it_compiled(site: Site, tmp_path: Path) -> None:
    first = site.start()
    assert first["hits"] == 0
    before = site.folders
    site.move(tmp_path / "generation")
    moved = site.start()
    assert Path(moved["file"]).is_relative_to(tmp_path / "generation")
    assert not Path(first["file"]).is_relative_to(tmp_path / "generation")
    assert (moved["result"], moved["hits"], site.folders) == (10.0, HITS, before)


def test_another_processor_python_or_setting_of_numba_has_folders_of_its_own(site: Site) -> None:
    assert site.start()["hits"] == 0
    others = {
        "processor": {"FIRST": "import llvmlite.binding as llvm; llvm.get_host_cpu_name = lambda: 'x86-64'"},
        "Python": {"FIRST": "sys.version = sys.version.replace(')', ' again)', 1)"},
        "setting": {"NUMBA_OPT": "1"},
    }
    for what, environ in others.items():
        before = site.folders
        other = site.start(**environ)
        assert (other["hits"], other["not_kept"], len(site.folders - before)) == (0, REFUSED, 2), what
    assert site.start()["hits"] == HITS


def test_a_start_whose_smoke_test_fails_publishes_nothing(site: Site) -> None:
    assert site.start("abandon")["result"] == 10.0
    assert site.folders == set()
    assert site.start()["hits"] == 0
    assert len(site.folders) == 2


def test_a_cache_that_cannot_be_used_is_thrown_away_and_told(site: Site) -> None:
    site.start()
    for file in (site.cache / "numba").rglob("*.nbc"):
        file.write_bytes(file.read_bytes()[:50])
    hurt = site.start()
    assert hurt["result"] == 10.0
    assert "was unusable and is thrown away" in hurt["output"]
    assert site.start()["hits"] == 0
    assert site.start()["hits"] == HITS

    for index in (site.cache / "numba").glob("lens-*/*.nbi"):  # a process that is ended while it reads
        index.unlink()
        subprocess.run(["mkfifo", str(index)], check=True)
    killed = site.begin()
    deadline = time.monotonic() + 60
    while not [entry for entry in site.folders if entry.startswith(".reading-lens")]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    told = site.start()
    assert told["result"] == 10.0
    assert "a process was ended while it read it" in told["output"]
    assert site.start()["hits"] == HITS


@pytest.mark.long
@pytest.mark.timeout(times(600, 3000))
def test_ten_that_start_at_once_on_an_empty_cache_all_start_and_so_does_the_next(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    count = times(1, 5)
    record_property("times", count)
    for _ in range(count):
        shutil.rmtree(site.cache, ignore_errors=True)
        results = [ended(process)["result"] for process in [site.begin() for _ in range(AT_ONCE)]]
        assert results == [10.0] * AT_ONCE
        assert site.start()["hits"] == HITS
        assert len(site.folders) == 2, "nothing is left of those who came second"


def test_nobody_else_may_write_what_a_worker_runs(site: Site) -> None:
    site.cache.mkdir()
    (site.cache / "numba").mkdir(mode=0o777)
    (site.cache / "numba").chmod(0o777)
    refused = site.start()
    assert refused["result"] == 10.0
    assert "others may write to it" in refused["problem"]
    assert site.folders == set()
