"""A real trapd on the embedded backend, as a child of the test, with configuration, state and sockets of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import processes
from trapd.control import documents, methods
from trapd.control.protocol import MOST_LINES
from trapd.ctl.client import AnswerError, Client, UnreachableError
from trapd.layout import Runtime, State

BIN = Path(sys.executable).parent
STOP_PATIENCE = 90.0  # s for trapd and its workers to end; the longest task of the load takes 10
LOOK = 0.1  # s between two looks whether there is news
NO_NEWS = 0.5  # s without news after which trapd is asked all the same

Table = Mapping[str, object]
Status = dict[str, Any]


def toml(tables: Mapping[str, Table]) -> str:
    """TOML of tables, nested ones included; strings, numbers, booleans and lists of them are written as in JSON."""
    text = ""
    for name, table in tables.items():
        plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
        nested = {f"{name}.{key}": value for key, value in table.items() if isinstance(value, Mapping)}
        text += f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
        text += toml(nested)
    return text


class News:
    """Whether to ask trapd again: it has written into its history since the last time, or NO_NEWS have passed. An
    answer costs trapd 0.02 s of work, and six tests at once wait all the time."""

    def __init__(self, state: Path) -> None:
        history = State(state).history
        self._files = (history, history.with_name(f"{history.name}-wal"))
        self._seen: list[tuple[int, int]] = []
        self._next = 0.0  # monotonic time

    def __call__(self) -> bool:
        now, seen = time.monotonic(), [stamp(file) for file in self._files]
        if seen == self._seen and now < self._next:
            return False
        self._seen, self._next = seen, now + NO_NEWS
        return True


class Daemon:
    """trapd from ``start`` to ``stop``; use it as a context manager and it leaves no process behind.

    ``directory`` must be short: sockets lie in it. ``tables`` are trapd.toml's, on top of what every test needs.
    ``by``: a command that becomes trapd, whose command line is appended.
    """

    by: Sequence[str] = ()

    def __init__(self, directory: Path, *, celeryconfig: str, tables: Mapping[str, Table]) -> None:
        self.directory, self.state, self.runtime = directory, directory / "state", directory / "run"
        self.config = directory / "trapd.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self._log = directory / "trapd.log"
        self._mark = f"TRAPD_TEST_DAEMON={uuid.uuid4().hex}"
        config = directory / "celeryconfig.py"
        config.write_text(celeryconfig)
        own: dict[str, Table] = {
            "trapd": {
                "backend": "embedded",
                "state_directory": str(self.state),
                "runtime_directory": str(self.runtime),
            },
            "app": {"celeryconfig": str(config)},
        }
        self.config.write_text(
            toml({name: {**own.get(name, {}), **tables.get(name, {})} for name in {**own, **tables}})
        )

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        stubborn = self._end()
        if error is not None:
            error.add_note(self.words())
        else:
            assert not stubborn, f"still there {STOP_PATIENCE:g} s after SIGTERM: {stubborn}\n{self.words()}"

    # -- its life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                [*self.by, str(BIN / "trapd"), "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                cwd=self.directory,
            )

    def stop(self) -> None:
        """SIGTERM, as a system would. Raises AssertionError if trapd or a worker does not leave in STOP_PATIENCE."""
        stubborn = self._end()
        assert not stubborn, f"still there {STOP_PATIENCE:g} s after SIGTERM: {stubborn}\n{self.words()}"

    def _end(self) -> list[str]:
        """Whatever is still there after STOP_PATIENCE is killed, and returned."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_PATIENCE)
        stubborn = processes.end_all(self._mark, STOP_PATIENCE)
        if self.process is not None:
            self.process.wait()
        return stubborn

    def kill(self) -> None:
        """SIGKILL to trapd alone: its workers learn of it by themselves."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def living(self) -> set[int]:
        """The processes of this daemon that live: itself, its workers, their children."""
        return processes.marked(self._mark)

    def _environment(self) -> dict[str, str]:
        name, _, value = self._mark.partition("=")
        return {**os.environ, name: value}

    # -- what it says ----------------------------------------------------------------------------------------------

    def ctl(self, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """``trapctl`` with this configuration."""
        return subprocess.run(
            [str(BIN / "trapctl"), "--config", str(self.config), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self._environment(),
        )

    @property
    def control(self) -> Path:
        """The socket to which trapctl connects."""
        return Runtime(self.runtime).control

    def status(self) -> Status:
        """What ``trapctl status --json`` shows; an empty dict while trapd does not answer yet."""
        return ask_status(self.control)

    def news(self) -> News:
        """For somebody who waits for something that the status shows."""
        return News(self.state)

    def events(self) -> list[documents.Event]:
        """The last events, oldest first."""
        with Client(self.control) as client:
            answer = client.ask(methods.EVENTS({"pool": None, "rollout": None, "since": None, "limit": MOST_LINES}))
        return answer["events"]

    def wait_until(
        self, what: str, true: Callable[[Status], bool], timeout: float = 180.0, every: float | None = None
    ) -> Status:
        """Ask for the status until ``true(status)``, when there is news, or so often. Raises AssertionError with the
        last status and the logs."""
        deadline, news, status = time.monotonic() + timeout, self.news(), self.status()
        while not (status and true(status)):
            ended = self.process is None or self.process.poll() is not None
            assert not ended, f"trapd ended while waiting for {what}\n{self.words()}"
            late = time.monotonic() > deadline
            assert not late, f"no {what} within {timeout:g} s; last status: {json.dumps(status, indent=1)}"
            time.sleep(every or LOOK)
            if every or news():
                status = self.status()
        return status

    def words(self) -> str:
        """The last lines of trapd's log and of each worker's."""
        logs = [self._log, *sorted(self.state.glob("logs/*.log"))]
        return "\n".join(f"--- {log.name}\n{_tail(log)}" for log in logs if log.exists())


def ask_status(control: Path) -> Status:
    """Ask the trapd at this socket; an empty dict while nobody answers. Without a trapctl, which costs 0.25 s of work:
    each test that waits asks four times a second."""
    try:
        with Client(control) as client:
            return {**client.ask(methods.STATUS({}))}
    except (UnreachableError, AnswerError):
        return {}


def stamp(file: Path) -> tuple[int, int]:
    """When it was written, in ns, and its bytes; zeros while it is not there."""
    try:
        status = file.stat()
    except OSError:  # not yet, or not any more
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _tail(log: Path, lines: int = 60) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def pool(status: Status, name: str = "default") -> dict[str, Any]:
    """The part of a status that is about one pool."""
    return next(one for one in status["pools"] if one["name"] == name)


def settled_on(version: str, workers: int, distribution: str = "shipyard") -> Callable[[Status], bool]:
    """Whether exactly ``workers`` run, all ready and current, on this version, and their rollout is over.

    Only then is the version known to be good: `rollout undo` cannot lead back to one that was replaced before.
    """

    def true(status: Status) -> bool:
        instances, rollout = pool(status)["instances"], pool(status)["rollout"]
        return (
            len(instances) == workers
            and bool(rollout and rollout["ended"])
            and all(
                one["state"] == "ready" and one["code"] == "current" and one["versions"].get(distribution) == version
                for one in instances
            )
        )

    return true
