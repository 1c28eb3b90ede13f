"""An environment with numba and two small distributions, and starts of processes in it that keep what they compile."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support import environments, site_packages
from tests.support.sample import CELERY
from trapd.worker import imports

PACKAGES = ("numba==0.61.2", "numpy==2.2.6", CELERY)
ROOT = Path(imports.__file__).parents[2]
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
OPTICS = """
from celery import Celery

import lens

app = Celery("optics")
lens.bend(1.0)  # a start compiles it


@app.task
def bend(x):
    return lens.bend(x)
"""
GLASS = """
import numba
FACTOR = 3.0

@numba.njit
def thick(x):
    return FACTOR * x
"""


class Site:
    """An environment with numba, ``lens``, ``glass`` that it calls, and ``other``, which they do not need. ``optics``
    is an application of Celery that imports ``lens``.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder, self.cache = python, folder, folder / "workers"
        self.install("glass", "1.0", {"glass.py": GLASS}, "numba")
        self.install("lens", "1.0", {"lens.py": LENS}, "numba", "glass")
        self.install("other", "1.0", {"other.py": ""})
        self.install("optics", "1.0", {"optics.py": OPTICS}, "celery", "lens")

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


def make(kept: Path, folder: Path) -> Path:
    """The interpreter of a fresh environment for Site. ``kept``: see tests/support/environments.py."""
    return environments.copy(kept, folder / "venv", *PACKAGES)
