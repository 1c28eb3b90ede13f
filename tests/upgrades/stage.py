"""A trapd with embedded workers on an application of the tests, which runs short tasks all the time while it is
upgraded; the rows of a module share it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self, cast

from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.daemon import Daemon, News, Table
from tests.support.sample import APP, NAME, NAP, Entry, parse_ledger

if TYPE_CHECKING:
    from trapd.control import documents

PATIENCE = 180.0  # s
NAP_TIME = 0.02  # s that each task takes
PACE = 0.2  # s between two tasks


@dataclass
class Tasks:
    """Short tasks, one after the other, from ``with`` to its end, at which each of them must have run."""

    broker: Broker
    ledger: Path
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="tasks")
        self._offset = self.ledger.stat().st_size if self.ledger.exists() else 0
        self._entries: list[Entry] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            wait_for("the end of all tasks", lambda: set(self.sent) <= {entry.id for entry in self.ended()})

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        with self.broker.app() as app:
            while not self._stop.wait(PACE):
                self.sent.append(app.send_task(NAP, (NAP_TIME, str(self.ledger)), ignore_result=True).id)

    def entries(self) -> list[Entry]:
        """Each line is read once: who waits asks ten times a second, and a ledger may have thousands of them."""
        if self.ledger.exists():
            with self.ledger.open("rb") as lines:
                lines.seek(self._offset)
                whole, end, _ = lines.read().rpartition(b"\n")
            self._offset += len(whole + end)
            self._entries += parse_ledger(whole.decode())
        return [*self._entries]

    def ended(self) -> list[Entry]:
        return [entry for entry in self.entries() if entry.event == "end"]


class Stage:
    """From ``with`` to its end; version 1.0 serves when it has begun. Subclasses say how code is laid out and found.

    ``home``: a folder with a short path. ``kept``: where virtual environments are kept between sessions.
    """

    workers = 2
    concurrency = 1
    trapd: ClassVar[Table] = {}
    watch: Mapping[str, object] = {}
    rollout: Mapping[str, object] = {"min_ready": "0s"}

    @property
    def variables(self) -> Mapping[str, str]:
        """The workers' variables."""
        return {}

    def __init__(self, home: Path, kept: Path, broker: Broker) -> None:
        self.home, self.kept, self.broker = home, kept, broker
        self.version = "1.0"
        self.venv = home / "venv"
        self.generation = 1
        self.mounts: list[Path] = []

    @property
    def python(self) -> Path:
        """The interpreter that trapd.toml names."""
        return self.venv / "bin/python"

    @property
    def site(self) -> Path:
        """The folder of installed packages."""
        return next(self.venv.glob("lib/python3*/site-packages"))

    def lay_out(self) -> None:
        """Put the application in its place, in version 1.0."""
        raise NotImplementedError

    # -- its life --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.lay_out()
        pool: Table = {"workers": self.workers, "concurrency": self.concurrency, "loglevel": "WARNING"}
        if self.variables:
            pool = {**pool, "environment": self.variables}
        tables: dict[str, Table] = {
            "trapd": self.trapd,
            "app": {"app": APP, "python": str(self.python)},
            "watch": {"distributions": [NAME], **self.watch},
            "rollout": self.rollout,
            "pools.default": pool,
        }
        celeryconfig = self.broker.celeryconfig(worker_prefetch_multiplier=1)
        self.daemon = Daemon(self.home, celeryconfig=celeryconfig, tables=tables)
        self.daemon.start()
        assert self.daemon.process is not None
        brokers.SERVERS.add(self.daemon.process.pid)  # it and its workers outlive a test
        try:
            self.wait_until("workers on 1.0", at_rest)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place in self.mounts:
            run("umount", str(place), cwd=self.home)
        assert self.daemon.process is not None
        self.daemon.__exit__(kind, error, trace)
        brokers.SERVERS.discard(self.daemon.process.pid)

    # -- versions --------------------------------------------------------------------------------------------------

    def next_version(self) -> str:
        return f"{int(self.version.partition('.')[0]) + 1}.0"

    def head(self) -> str:
        """The commit that the application's work tree is at, as git shortens it for people; empty if there is none."""
        return ""

    def tasks(self) -> Tasks:
        return Tasks(self.broker, self.home / "ledger.jsonl")

    # -- what trapd says -------------------------------------------------------------------------------------------

    def status(self) -> documents.Status | None:
        """None while trapd does not answer."""
        return cast("documents.Status", self.daemon.status()) or None

    def news(self) -> News:
        """For somebody who waits for something that the status shows."""
        return self.daemon.news()

    def events(self, after: int = 0) -> list[documents.Event]:
        """The events with a higher number, oldest first."""
        return [event for event in self.daemon.events() if event["id"] > after]

    def ctl(self, *arguments: str) -> tuple[int, str]:
        """The exit status of trapctl and its output."""
        done = self.daemon.ctl(*arguments)
        return done.returncode, done.stdout

    def words(self) -> str:
        """The end of the logs."""
        return self.daemon.words()

    def lives(self) -> bool:
        """Whether trapd runs."""
        return self.daemon.process is not None and self.daemon.process.poll() is None

    def wait_until(self, what: str, true: Callable[[documents.Pool], bool], timeout: float = PATIENCE) -> None:
        """Ask for the pool's part of the status until it is so."""
        seen: documents.Status | None = None
        news = self.news()

        def looks() -> bool:
            nonlocal seen
            assert self.lives(), f"trapd ended\n{self.words()}"
            if not news():
                return False
            seen = self.status()
            return seen is not None and true(seen["pools"][0])

        try:
            wait_for(what, looks, timeout)
        except AssertionError as error:
            error.add_note(f"last status: {seen}\n{self.words()}")
            raise

    def wait_until_broken(self, reason: str = "") -> str:
        """Until what is installed is broken, for a reason with these words; the whole reason."""
        seen: documents.Status | None = None
        news = self.news()

        def looks() -> bool:
            nonlocal seen
            if not news():
                return False
            seen = self.status()
            return seen is not None and seen["disk"]["state"] == "broken" and reason in seen["disk"]["reason"]

        try:
            wait_for(f"broken disk, {reason}", looks)
        except AssertionError as error:
            error.add_note(f"last status: {seen}\n{self.daemon.words()}")
            raise
        assert seen is not None
        return seen["disk"]["reason"]


@dataclass
class Shared:
    """The stage of a module's rows. A row that fails leaves it as it may be: the next row gets a new one."""

    make: Callable[[Path], Stage]
    _stage: Stage | None = None
    _home: Path | None = None

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Stage]:
        if self._stage is None:
            self._home = Path(tempfile.mkdtemp(prefix="td"))
            self._stage = self.make(self._home).__enter__()
        try:
            yield self._stage
        except BaseException as error:
            self.close(error)
            raise

    def close(self, error: BaseException | None = None) -> None:
        stage, home, self._stage, self._home = self._stage, self._home, None, None
        try:
            if stage is not None:
                stage.__exit__(type(error) if error else None, error, None)
        finally:
            if home is not None:
                shutil.rmtree(home, ignore_errors=True)


def at_rest(pool: documents.Pool) -> bool:
    """Nothing is wrong, nothing goes on, and all workers are ready on the wanted generation."""
    rollout, instances = pool["rollout"], pool["instances"]
    return (
        not pool["problems"]
        and rollout is not None
        and rollout["ended"] is not None
        and len(instances) == pool["wanted"]
        and all(instance["state"] == "ready" and instance["code"] == "current" for instance in instances)
    )


def run(*command: str, cwd: Path, **variables: str) -> None:
    """Raises AssertionError with the command's words if it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd, env={**os.environ, **variables}
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"


def wait_for(what: str, true: Callable[[], object], timeout: float = PATIENCE) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {timeout:g} s"
        time.sleep(0.1)
