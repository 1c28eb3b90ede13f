"""A run of the real Trap over one worker, and trap-run beside it.

Importing Trap is what costs here, so one process of trap-run makes all references, with the cache of numba that workers
have. Trap's environment is that of ``make run``, and one process at a time may use it.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import time
from array import array
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo import databases, images
from demo.processes import Processes
from demo.trapenv import TrapEnvironment, default_place
from tests.conftest import make_broker
from tests.support import environments
from tests.support.brokers import Broker
from tests.support.daemon import BIN, Daemon, Table
from trapd.distribute import endings, sky

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared/data/GRB201006A_final_2min_srcs-t0002-image-pb_cutout.fits"
_CARD, _BLOCK = 80, 2880  # bytes of FITS
_REAL_SIZE = 256  # pixels on a side
EAGER = ".eager.db"  # ending of a database
OPTIONS = ("--max_nr_consecutive_force_fits", "5")
RUNS_TRAP = """
import os, sys
from pathlib import Path
from trapd.worker import numba_cache

cache = numba_cache.wanted(Path(os.environ["NUMBA_CACHE_DIR"]), os.environ)
from trap import cli, run
from trapd.distribute import smoke

smoke.known_source()  # so that the cache is whole for the workers, too
cache.publish()
for arguments in sys.argv[1:]:
    sys.argv[1:] = arguments.split()
    cli.run_batch()
"""
WORKS = """
import os, sys
from pathlib import Path
from trapd.worker import numba_cache

cache = numba_cache.wanted(Path(os.environ["NUMBA_CACHE_DIR"]), os.environ)
from trapd.distribute import smoke, tasks

smoke.known_source()  # as `make run` has it: what this compiles is in the cache, and compiled before children fork
cache.publish()
from trapd.worker import file_broker

file_broker.install()  # as every worker of trapd does: kombu's own takes half a message, and ends there
from celery.__main__ import main

node = ["-n", "default-7-1@host", "-c", sys.argv[1], "--without-mingle", "--without-gossip"]
sys.argv[1:] = ["-A", "trapd.distribute.app:app", "worker", *node]
main()
"""


@dataclass(frozen=True)
class Series:
    name: str
    options: tuple[str, ...]

    def arguments(self, place: Path, database: str) -> list[str]:
        """``database``: its name, followed by other options if it is not of SQLite."""
        log = ("--log_dir", str(place / "logs"))
        return ["-i", str(place / self.name), "--db_name", *database.split(), *OPTIONS, *log, *self.options]


def transient(place: Path) -> Series:
    """Twelve images: a source comes and goes, so it is measured by forced fits where it is missing."""
    images.make(place / "transient")
    return Series("transient", ())


def bands(place: Path) -> Series:
    """Six images of two frequencies, one of which Trap rejects, and two places that are always measured."""
    folder = place / "bands"
    folder.mkdir()
    for number in range(6):
        rms = images.RMS if number != 3 else 3 * images.RMS
        faint = sky.Source(*images.WHERE, 0.040)
        sources = (*images.FIELD, faint) if number in (1, 4) else images.FIELD[: 8 - number % 2]
        path = folder / f"{number}.fits"
        pixels = sky.draw(images.SIZE, sources, rms, seed=number)
        sky.write(path, pixels, images.SIZE, images.START + number // 2 * timedelta(minutes=2))
        if number % 2:
            path.write_bytes(path.read_bytes().replace(b"1.5000000000000E+08", b"1.8000000000000E+08", 1))
    where = "[[180.0,52.0],[180.05,52.1]]"
    return Series("bands", ("--monitor_loc", where, "--rms_max", str(2 * images.RMS)))


def monitored(place: Path) -> Series:
    """Five images, and three places that are always measured: on a source, beside all, and outside the images."""
    folder = place / "monitored"
    folder.mkdir()
    for number in range(5):
        pixels = sky.draw(images.SIZE, images.FIELD[: 8 - number % 3], images.RMS, seed=20 + number)
        sky.write(folder / f"{number}.fits", pixels, images.SIZE, images.START + number * images.CADENCE)
    on_a_source = images.FIELD[4].position(images.SIZE)
    where = [[*on_a_source], [180.02, 52.03], [200.0, 10.0]]
    return Series("monitored", ("--monitor_loc", str(where).replace(" ", "")))


def options(place: Path) -> Series:
    """Six images, a pair of sources in them that lie close together, and other options of the source extraction."""
    folder = place / "options"
    folder.mkdir()
    near = sky.Source(images.FIELD[6].x + 7.0, images.FIELD[6].y + 2.0, 0.120)
    for number in range(6):
        sources = (*images.FIELD, near) if number % 2 else images.FIELD
        pixels = sky.draw(images.SIZE, sources, images.RMS, seed=40 + number)
        sky.write(folder / f"{number}.fits", pixels, images.SIZE, images.START + number * images.CADENCE)
    finder = ("--detection_threshold", "6", "--analysis_threshold", "3", "--deblend_nthresh", "16", "--force_beam")
    return Series("options", (*finder, "--im_margin", "8", "--ew_sys_err", "2", "--ns_sys_err", "2"))


def truncated(place: Path) -> Series:
    """Two images; the second one ends in the middle of its pixels, as a copy does that a full disk has cut short."""
    folder = place / "truncated"
    folder.mkdir()
    for number in range(2):
        path, pixels = folder / f"{number}.fits", sky.draw(images.SIZE, images.FIELD, images.RMS, seed=60 + number)
        sky.write(path, pixels, images.SIZE, images.START + number * images.CADENCE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Series("truncated", ())


def real(place: Path) -> Series:
    """Four copies of an image of LOFAR, two minutes apart; two lack a strip of the sky with sources in it."""
    folder = place / "real"
    folder.mkdir()
    original = REAL.read_bytes()
    begin = -(-(original.index(b"END".ljust(_CARD)) + _CARD) // _BLOCK) * _BLOCK
    pixels = array("f", original[begin : begin + 4 * _REAL_SIZE**2])
    pixels.byteswap()
    sources, empty = (slice(row * _REAL_SIZE, (row + 20) * _REAL_SIZE) for row in (104, 190))
    for number in range(4):
        drawn = pixels[:]
        if number % 2:
            drawn[sources] = pixels[empty]
        drawn.byteswap()
        header = original[:begin].replace(b"2020-10-06T01:26:36.8", f"2020-10-06T01:{26 + 2 * number}:36.8".encode())
        (folder / f"{number}.fits").write_bytes(header + drawn.tobytes() + original[begin + 4 * len(drawn) :])
    return Series("real", ("--im_radius", "200"))


class Lab:
    """Trap's environment, a broker, and a folder."""

    def __init__(self, trap: TrapEnvironment, broker: Broker, place: Path, cache: Path) -> None:
        self.trap, self.python, self.broker, self.place = trap, trap.python, broker, place
        (place / "celeryconfig.py").write_text(broker.celeryconfig())
        self.ledger = place / "ledger"
        self._runs: list[subprocess.Popen[str]] = []
        self.env = {
            **os.environ,
            "PYTHONPATH": f"{place}:{ROOT}",
            "NUMBA_CACHE_DIR": str(cache),
            "OMP_NUM_THREADS": "1",
        }

    def reference(self, *series: Series, database: str = "") -> None:
        """Run trap-run for each series."""
        runs = [" ".join(one.arguments(self.place, database or self._database(one, ".trap-run.db"))) for one in series]
        self._finish([str(self.python), "-c", RUNS_TRAP, *runs])

    def plain_reference(self, *series: Series) -> None:
        """The same by Trap's own program, which knows nothing of numba's cache: it compiles for each series."""
        for one in series:
            arguments = one.arguments(self.place, self._database(one, ".trap-run.db"))
            self._finish([str(self.python.with_name("trap-run")), *arguments])

    def run(self, series: Series, *options: str, database: str = "") -> subprocess.Popen[str]:
        arguments = series.arguments(self.place, database or self._database(series, ".db"))
        return self._start([str(self.python), "-m", "trapd.distribute.run", *options, "--", *arguments], self.env)

    def run_eagerly(self, series: Series, typed: str = "") -> subprocess.Popen[str]:
        """The run itself does what tasks do; there is no broker in its celeryconfig. For ``is_equal``: EAGER.
        ``typed``: other options of Trap, in which these two names stand for the images and the database."""
        (self.place / "always_eager.py").write_text("CELERY_ALWAYS_EAGER = True\n")
        names = {"/data/field7": str(self.place / series.name), "field7.sqlite": self._database(series, EAGER)}
        options = [names.get(word, word) for word in shlex.split(typed)]
        arguments = series.arguments(self.place, self._database(series, EAGER))
        arguments = [*options, *arguments[arguments.index("--log_dir") :]] if typed else arguments
        command = [str(self.python), "-m", "trapd.distribute.run", "--", *arguments]
        return self._start(command, {**self.env, "CELERY_CONFIG_MODULE": "always_eager"})

    def trapctl_run(self, daemon: Daemon, series: Series, *options: str) -> subprocess.Popen[str]:
        """By the service of ``daemon``, in the place of ``run``."""
        arguments = series.arguments(self.place, self._database(series, ".db"))
        command = [str(BIN / "trapctl"), "--config", str(daemon.config), "run", *options, "--", *arguments]
        return self._start(command, {**os.environ, "NUMBA_CACHE_DIR": self.env["NUMBA_CACHE_DIR"]})

    def _start(self, command: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=self.place,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._runs.append(process)
        return process

    def daemon(self) -> Daemon:
        """A trapd with one worker, which keeps the ledger."""
        environment = {"NUMBA_CACHE_DIR": self.env["NUMBA_CACHE_DIR"], "TRAPD_LEDGER": str(self.ledger)}
        tables: dict[str, Table] = {
            "app": {"python": str(self.python)},
            "rollout": {"min_ready": "0s"},
            "pools.default": {"workers": 1, "concurrency": 1, "environment": environment},
        }
        return Daemon(self.place, celeryconfig=self.broker.celeryconfig(), tables=tables)

    def upgrade(self, version: str) -> None:
        """pip installs this version of Trap, in place."""
        self.trap.upgrade(version).wait(600)
        self.trap.upgraded()

    def close(self) -> None:
        """End what a test that failed left."""
        for process in self._runs:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def _database(self, series: Series, ending: str) -> str:
        return str(self.place / f"{series.name}{ending}")

    def _finish(self, command: list[str]) -> None:
        done = subprocess.run(
            command, env=self.env, cwd=self.place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout[-4000:]

    @contextmanager
    def worker(self) -> Iterator[psutil.Process]:
        with (self.place / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [str(self.python), "-c", WORKS, "1"],
                env={**self.env, "TRAPD_LEDGER": str(self.ledger)},
                cwd=self.place,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(300)

    def begun(self) -> int:
        return self._told("begin")

    def _told(self, what: str) -> int:
        return self.ledger.read_text().count(f'"{what}"') if self.ledger.exists() else 0

    def stop_in_a_task(self, worker: psutil.Process, run: subprocess.Popen[str]) -> psutil.Process:
        """SIGSTOP the process of ``worker`` that extracts, with a task in it, and return it."""
        [child] = [child for child in worker.children() if child.name() != "resource_tracker"]

        def stopped() -> bool:
            child.suspend()
            wait(lambda: child.status() == psutil.STATUS_STOPPED, run)
            if self.begun() > self._told("end"):
                return True
            child.resume()
            return False

        wait(stopped, run)
        return child

    def kill_child(self, worker: psutil.Process, run: subprocess.Popen[str]) -> None:
        """SIGKILL the process that extracts, with a task in it."""
        self.stop_in_a_task(worker, run).kill()

    def kill_worker(self, worker: psutil.Process, run: subprocess.Popen[str]) -> None:
        """SIGKILL the worker's main process, and the one that extracts, with a task in it."""
        child = self.stop_in_a_task(worker, run)
        worker.kill()
        child.kill()

    def is_equal(self, series: Series, ending: str = ".db", *, ignored: Collection[str] = (databases.NAME,)) -> None:
        mine, its = (Path(self._database(series, one)) for one in (ending, ".trap-run.db"))
        assert databases.differences(mine, its, ignored=ignored) == []
        assert databases.rows(mine)["extracted_sources"] > 0

    def rows(self, series: Series, query: str) -> list[Any]:
        with closing(sqlite3.connect(self._database(series, ".db"))) as connection:
            return connection.execute(query).fetchall()


def wait(true: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 600) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def succeeds(run: subprocess.Popen[str]) -> None:
    ends(run, endings.DONE)


def ends(run: subprocess.Popen[str], status: int) -> str:
    """Returns what it said."""
    said = run.communicate(timeout=600)[1]
    assert run.returncode == status, said
    return said


def compiled(config: pytest.Config) -> Path:
    """The folder of what all tests of the real Trap have compiled with numba, which is half a minute of work."""
    assert config.cache is not None
    return config.cache.mkdir("numba")


@contextmanager
def trap_lab(version: str, place: Path, request: pytest.FixtureRequest, broker: str = "embedded") -> Iterator[Lab]:
    """Waits for other processes of pytest that have one: `make test-long` shares tests out one by one."""
    with environments.alone(cache := compiled(request.config)):
        trap = TrapEnvironment(default_place(place), Processes(place))
        trap.prepare(version, lambda: None)
        lab = Lab(trap, make_broker(broker, request), place, cache)
        try:
            yield lab
        finally:
            lab.close()
            trap.close()
