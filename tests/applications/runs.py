"""One application in its place, and its workers: of plain `celery worker` or of trapd, by the same interface."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from celery.app.defaults import SETTING_KEYS

from tests.applications.catalogue import PROJECTS, Application
from tests.support import processes
from tests.support.daemon import Daemon, Status
from tests.support.environments import pip
from tests.support.wheels import write_wheel

CLIENT = Path(__file__).with_name("client.py")
PACKAGES = ("celery[redis]>=5.5", "Django>=5.2,<6", "Flask>=3", "gevent", "uv")
OLD, NEW = "1.0", "2.0"
WORKERS = 2
PATIENCE = 180.0  # s
IN_FORCE = ("implementation", "max-concurrency", "max-tasks-per-child", "timeouts")  # what a Celery pool says of itself


@dataclass(frozen=True)
class Place:
    """A copy of the application's folder, its interpreter, and its broker."""

    application: Application
    python: Path
    folder: Path
    broker: str
    results: str

    def put(self) -> None:
        """Fresh, in version 1.0."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(PROJECTS / self.application.name, self.folder)
        self.install(OLD)
        for command in self.application.before:
            self.run(*command)

    def upgrade(self, files: str = "") -> None:
        """To version 2.0, in place: as an editor or `git pull` writes, and as pip installs. ``files``: a project whose
        files come on top."""
        if files:
            shutil.copytree(PROJECTS / files, self.folder, dirs_exist_ok=True)
        file = self.folder / self.application.version
        file.write_text(file.read_text().replace(f'"{OLD}"', f'"{NEW}"'))
        if self.application.wheels:
            self.install(NEW)

    def install(self, version: str) -> None:
        for name, folder in self.application.wheels.items():
            top = self.folder / folder
            files = {str(file.relative_to(top)): file.read_text() for file in top.rglob("*.py")}
            wheel = write_wheel(self.folder.parent / "wheels", name, version, files, requires=["celery"])
            pip(self.python, "install", "--no-index", "--no-deps", "--force-reinstall", str(wheel))
        if self.application.editables:
            # What `uv sync` does with the members of the workspace; it would ask an index for Celery once more.
            editables = [argument for one in self.application.editables for argument in ("--editable", one)]
            self.run("-m", "uv", "pip", "install", "--offline", "--no-deps", "--python", str(self.python), *editables)

    @property
    def path(self) -> str:
        return os.pathsep.join(str((self.folder / one).resolve()) for one in self.application.path)

    @property
    def environment(self) -> dict[str, str]:
        """What the application's own programs, and plain workers, are started with."""
        own = {"BROKER_URL": self.broker, "RESULT_BACKEND": self.results, "PYTHONPATH": self.path}
        return {**os.environ, **own, **self.application.environment, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments: str) -> str:
        """The application's interpreter, in its folder; returns what it printed."""
        command = [str(self.python), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"cannot run {' '.join(command)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def written(self) -> dict[str, str]:
        """What came to lie beside the application, as text; database files by name only."""
        source = PROJECTS / self.application.name
        given = {str(file.relative_to(source)) for file in _files(source)}
        found = {str(file.relative_to(self.folder)): file for file in _files(self.folder)}
        return {name: "" if "sqlite" in name else file.read_text() for name, file in found.items() if name not in given}

    def observe(self, workers: int) -> Observed:
        """Send the calls; what became of them, and what the workers say of themselves."""
        order = {"what": "observe", "app": self.application.app, "workers": workers, "calls": self.application.calls}
        answer = json.loads(self.run(str(CLIENT), json.dumps(order)).splitlines()[-1])
        return Observed(**answer, written=self.written(), beaten=self.beaten(0))

    def beaten(self, before: int) -> int:
        """How often what beat sends has run, once that is more than ``before``; 0 without a beat."""
        if not self.application.beat:
            return 0
        deadline, times = time.monotonic() + PATIENCE, before
        while times <= before and time.monotonic() < deadline:
            time.sleep(0.1)
            with closing(sqlite3.connect(self.folder / "db.sqlite3")) as database:
                (times,) = database.execute(self.application.beat).fetchone()
        assert times > before, "beat has sent nothing"
        return times


def _files(top: Path) -> Iterator[Path]:
    """Without compiled files, and without the journal that SQLite has beside its database while somebody writes."""
    return (f for f in top.rglob("*") if f.is_file() and f.suffix != ".pyc" and not f.name.endswith("-journal"))


@dataclass(frozen=True)
class Observed:
    """What workers did, and by node name what they say of themselves."""

    answers: list[Any]
    queues: Mapping[str, list[dict[str, Any]]]
    settings: Mapping[str, dict[str, Any]]
    tasks: Mapping[str, list[str]]
    stats: Mapping[str, dict[str, Any]]
    written: Mapping[str, str]
    beaten: int

    def each(self, what: str) -> list[Any]:
        """The different answers of workers that ought to agree: one, if they do."""
        found: list[Any] = []
        for answer in getattr(self, what).values():
            match what:
                case "settings":
                    plain: Any = _settings(answer)
                case "stats":
                    plain = {f"pool: {name}": answer["pool"].get(name) for name in IN_FORCE}
                    plain["prefetch count"] = answer["prefetch_count"]
                case _:
                    plain = sorted(answer, key=str)
            found += [] if plain in found else [plain]
        return found


def _settings(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Those that Celery knows: a module has other names as well. Celery keeps ``include`` in no order."""
    known = {name: value for name, value in conf.items() if name in SETTING_KEYS}
    return known | {"include": sorted(known.get("include") or ())}


class Running(Protocol):
    """Workers of an application, ready to be asked."""

    workers: int

    def words(self) -> str:
        """What they printed."""


class Plain:
    """`celery -A APP worker`, in the application's folder; and beside it `celery beat`, if it has periodic tasks."""

    workers = 1

    def __init__(self, log: Path) -> None:
        self._log = log

    def words(self) -> str:
        return self._log.read_text()

    @classmethod
    @contextmanager
    def running(cls, place: Place, directory: Path) -> Iterator[Plain]:
        plain, application = cls(directory / "plain.log"), place.application
        programs = [("worker", "-l", "INFO", *application.options)]
        if application.beat:
            programs += [("beat", "--schedule", str(directory / "schedule"))]
        with ExitStack() as stack:
            for program in programs:
                stack.enter_context(plain._program(place, *program))
            _wait("plain worker", lambda: " ready." in plain.words(), plain)
            yield plain

    @contextmanager
    def _program(self, place: Place, *arguments: str) -> Iterator[None]:
        with self._log.open("ab") as out:
            process = subprocess.Popen(
                [str(place.python), "-m", "celery", "-A", place.application.app, *arguments],
                cwd=place.folder,
                env=place.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                processes.end(process.pid)
                process.wait()


class Trapd:
    """trapd with a pool of two workers, on a celeryconfig that names the broker and the backend, and nothing else."""

    workers = WORKERS

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def words(self) -> str:
        return self.daemon.words()

    @classmethod
    @contextmanager
    def running(cls, place: Place, directory: Path, celeryconfig: str = "") -> Iterator[Trapd]:
        """``celeryconfig``: what it names beside them."""
        celeryconfig += f"\nbroker_url = {place.broker!r}\nresult_backend = {place.results!r}\n"
        with Daemon(directory, celeryconfig=celeryconfig, tables=tables(place)) as daemon:
            trapd = cls(daemon)
            daemon.wait_until("workers", trapd.on(1), PATIENCE)
            yield trapd

    def on(self, generation: int) -> Callable[[Status], bool]:
        """Whether all that is wanted runs, and nothing else, ready and current on this generation."""

        def true(status: Status) -> bool:
            return all(
                len(one["instances"]) == one["wanted"]
                and all(
                    (instance["state"], instance["code"], instance["generation"]) == ("ready", "current", generation)
                    for instance in one["instances"]
                )
                for one in status["pools"]
            )

        return true


def tables(place: Place) -> dict[str, Mapping[str, object]]:
    """trapd.toml for the application."""
    application = place.application
    environment = {**application.environment, **({"PYTHONPATH": place.path} if place.path else {})}
    beat = {"pools.beat": {"run": "beat", "environment": environment}} if application.beat else {}
    return {
        "app": {"app": application.app, "python": str(place.python)},
        "watch": {"distributions": list(application.watch), "quiet_period": "1s"},
        "rollout": {"min_ready": "1s", "progress_deadline": "30s"},
        "pools.default": {"workers": WORKERS, **application.pool, "environment": environment},
        **beat,
    }


def _wait(what: str, true: Callable[[], bool], running: Running) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE:g} s\n{running.words()}"
        time.sleep(0.05)


class Load:
    """The application's task ``work``, sent again and again from ``start`` to ``stop``."""

    def __init__(self, place: Place, ledger: Path, seconds: float = 0.3, every: float = 0.15) -> None:
        self.ledger = ledger
        order = {"what": "load", "app": place.application.app, "task": place.application.work, "every": every}
        order["arguments"] = [str(ledger), seconds]
        self._process = subprocess.Popen(
            [str(place.python), str(CLIENT), json.dumps(order)],
            cwd=place.folder,
            env=place.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def stop(self) -> list[tuple[str, float, Any]]:
        """Id, time of sending, and answer of each."""
        out, _ = self._process.communicate("", timeout=PATIENCE)
        return [(id, at, answer) for id, at, answer in json.loads(out.splitlines()[-1])]

    def ran(self) -> list[tuple[str, str]]:
        """Id and version of each run, as the tasks themselves noted it."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [(id, version) for id, version in (line.split() for line in lines)]
