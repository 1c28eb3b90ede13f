"""How soon the first new worker starts after an installer has ended, and how soon it runs the first task.

``python -m benchmarks.settling [--tree FOLDER] [--files N] [--replaced N] [--upgrades N] [pip] [uv] [apt]``: trapd of
that source tree, this one if none is named. A trapd on the embedded backend keeps two workers; each upgrade is one run
of the tool, and the next one follows when the rollout is over and the disk has been quiet.

apt installs a package ``trapd-benchmark`` on this machine, which is purged in the end; that needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import named
from tests.support import brokers, environments, processes
from tests.support.daemon import toml
from tests.support.sample import APP, CELERY, NAME, NAP, good, parse_ledger
from tests.support.site_packages import install
from tests.support.wheels import write_wheel

ROOT = Path(__file__).parent.parent
TOOLS, PACKAGE = ("pip", "uv", "apt"), "trapd-benchmark"
PACE, NAP_TIME = 0.02, 0.01  # seconds between two tasks, and that each of them takes
PATIENCE = 60.0
QUIET = 3.0  # seconds between two upgrades: longer than the quiet period
WORKERS = 2


@dataclass(frozen=True)
class Figures:
    """Seconds from the end of the tool, of each upgrade: to the start of the first new worker, and to the start of the
    first task that runs on new code."""

    tool: str
    files: int
    start: tuple[float, ...]
    task: tuple[float, ...]

    def __str__(self) -> str:
        start, task = statistics.median(self.start), statistics.median(self.task)
        spread = f"{min(self.start):.2f} to {max(self.start):.2f}"
        return f"{self.tool}, {self.files} files: first start {start:.2f} s ({spread}), first task {task:.2f} s"


def measure(tree: Path, tool: str, *, files: int = 5000, replaced: int = 400, upgrades: int = 5) -> Figures:
    """Upgrade by this tool, under the trapd of a source tree. ``files``: of the environment."""
    with contextlib.ExitStack() as down:
        home = Path(down.enter_context(tempfile.TemporaryDirectory(prefix="td", dir="/tmp")))
        broker = down.enter_context(_redis(home))
        application = _Upgraded(home, tool, files, replaced)
        down.callback(application.close)
        application.upgrade("1.0")
        with _Daemon(home, tree, broker, application.python) as daemon, _Tasks(broker, home / "ledger"):
            daemon.settled(1)
            ended, started, first = [], [], []
            for number in range(2, upgrades + 2):
                time.sleep(QUIET)
                version = f"{number}.0"
                ended.append(application.upgrade(version))
                started.append(daemon.started(number, version))
                first.append(_first_task(home / "ledger", version))
                daemon.settled(number)
        there = sum(path.is_file() for path in application.site.rglob("*"))
    start = tuple(at - end for at, end in zip(started, ended, strict=True))
    return Figures(tool, there, start, tuple(at - end for at, end in zip(first, ended, strict=True)))


class _Upgraded:
    """The application: a virtual environment of so many files, and versions to put into it."""

    def __init__(self, home: Path, tool: str, files: int, replaced: int) -> None:
        self._home, self._tool = home, tool
        self.python = environments.make(home / "venv", CELERY)
        [self.site] = (home / "venv/lib").glob("python3*/site-packages")
        there = sum(path.is_file() for path in self.site.rglob("*"))
        self._modules = replaced // 2  # each has a compiled file as well
        ballast = {f"ballast/m{n}.py": f"VALUE = {n}\n" for n in range(max(0, files - replaced - there) // 2)}
        wheel = write_wheel(home / "wheels", "ballast", "1.0", {"ballast/__init__.py": "", **ballast})
        environments.pip(self.python, "install", "--no-index", str(wheel))
        if tool == "uv":
            environments.make(home / "tools", "uv")

    def upgrade(self, version: str) -> float:
        """Returns when the tool had ended."""
        padding = "def f(x):\n    return [x, x + 1, {'x': x}]\n\n\n" * 20
        modules = {f"shipyard/m{n}.py": f"VERSION = {version!r}\n{padding}" for n in range(self._modules)}
        command = self._command(version, {**good(version), **modules})
        environment = {**os.environ, "UV_CACHE_DIR": str(self._home / "cache"), "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=environment)
        return time.monotonic()

    def close(self) -> None:
        if self._tool == "apt":
            subprocess.run(["apt-get", "purge", "--yes", PACKAGE], check=True, capture_output=True)

    def _command(self, version: str, files: Mapping[str, str]) -> Sequence[str]:
        if self._tool == "apt":
            return ["apt-get", "install", "--yes", "--no-install-recommends", str(self._package(version, files))]
        wheel = write_wheel(self._home / "wheels", NAME, version, files)
        if self._tool == "uv":
            uv, python = self._home / "tools/bin/uv", str(self.python)
            return [str(uv), "pip", "install", "--offline", "--no-deps", "--compile", "--python", python, str(wheel)]
        options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--force-reinstall"]
        return [str(self.python), "-m", "pip", "install", *options, str(wheel)]

    def _package(self, version: str, files: Mapping[str, str]) -> Path:
        """A package that brings the application into its environment, as dh-virtualenv makes them."""
        tree = self._home / f"{PACKAGE}-{version}"
        install(tree / self.site.relative_to("/"), NAME, version, files)
        control = f"Package: {PACKAGE}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@t>\nDescription: t\n"
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/control").write_text(control)
        shutil.rmtree(tree / self.site.parent.relative_to("/") / "wheels")
        package = tree.with_suffix(".deb")
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(package)]
        subprocess.run(command, check=True, capture_output=True)
        return package


class _Daemon:
    """trapd of a source tree, known by its processes alone: so that any version of trapd can be measured."""

    def __init__(self, home: Path, tree: Path, broker: brokers.Broker, python: Path) -> None:
        self._mark, self._tree, self._log = f"TRAPD_TEST_DAEMON={uuid.uuid4().hex}", tree, home / "trapd.log"
        self._config, config = home / "trapd.toml", home / "celeryconfig.py"
        config.write_text(broker.celeryconfig(worker_prefetch_multiplier=1))
        tables: Mapping[str, Mapping[str, object]] = {
            "trapd": {
                "backend": "embedded",
                "state_directory": str(home / "state"),
                "runtime_directory": str(home / "run"),
            },
            "app": {"app": APP, "python": str(python), "celeryconfig": str(config)},
            "watch": {"distributions": [NAME]},
            "rollout": {"min_ready": "1s"},
            "pools.default": {"workers": WORKERS, "concurrency": 1},
        }
        self._config.write_text(toml(tables))

    def __enter__(self) -> _Daemon:
        name, _, value = self._mark.partition("=")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trapd", "--config", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=self._log.open("wb"),
            stderr=subprocess.STDOUT,
            env={**os.environ, name: value, "PYTHONPATH": str(self._tree)},
            cwd=self._tree,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        processes.end_all(self._mark, PATIENCE)

    def started(self, generation: int, version: str) -> float:
        """When the first worker that is not of an earlier generation was started."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if born := [at for number, at in self._workers() if number >= generation]:
                return min(born)
            time.sleep(0.02)
        raise AssertionError(f"no worker on {version}\n{self._log.read_text()}")

    def settled(self, generation: int) -> None:
        """Wait until all workers are of this generation, or a later one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            numbers = [number for number, _ in self._workers()]
            if len(numbers) == WORKERS and min(numbers) >= generation:
                return
            time.sleep(0.1)
        raise AssertionError(f"no rest on generation {generation}\n{self._log.read_text()}")

    def _workers(self) -> list[tuple[int, float]]:
        """Generation, and moment of birth, of each main process of a worker."""
        found = []
        for pid in processes.marked(self._mark):
            with contextlib.suppress(OSError, ValueError, IndexError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if "--generation" in words and _parent(pid) == self._process.pid:
                    found.append((int(Path(words[words.index("--generation") + 1]).name), _born(pid)))
        return found


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_fields(pid)[1])


def _born(pid: int) -> float:
    """In seconds of CLOCK_MONOTONIC, to a hundredth."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(_fields(pid)[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


class _Tasks:
    """Short tasks without end, so that whoever is ready gets one at once."""

    def __init__(self, broker: brokers.Broker, ledger: Path) -> None:
        self._broker, self._ledger, self._stop = broker, ledger, threading.Event()
        self._thread = threading.Thread(target=self._send, name="tasks")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        with self._broker.app() as app:
            while not self._stop.wait(PACE):
                app.send_task(NAP, (NAP_TIME, str(self._ledger)), ignore_result=True)


def _first_task(ledger: Path, version: str) -> float:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        whole, _, _ = ledger.read_text().rpartition("\n")
        if found := [entry.at for entry in parse_ledger(whole) if entry.version == version]:
            return min(found)
        time.sleep(0.05)
    raise AssertionError(f"no task ran on {version}")


@contextlib.contextmanager
def _redis(home: Path) -> Iterator[brokers.Broker]:
    (home / "redis").mkdir()
    with brokers.redis_server(home / "redis") as (url, _):
        yield brokers.on_redis(url, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"of {', '.join(TOOLS)}; pip and uv if none is named")
    parser.add_argument("--tree", type=Path, default=ROOT, help="a source tree of trapd")
    parser.add_argument("--files", type=int, default=5000, help="files in the environment")
    parser.add_argument("--replaced", type=int, default=400, help="files that each upgrade replaces")
    parser.add_argument("--upgrades", type=int, default=5)
    options = parser.parse_args()
    named.check(parser, "tool", options.tools, TOOLS)
    for tool in options.tools or ("pip", "uv"):
        tree, size = options.tree.resolve(), {"files": options.files, "replaced": options.replaced}
        print(measure(tree, tool, **size, upgrades=options.upgrades), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
