"""A trapd with two embedded workers at work, to which something is done, again and again.

After each fault the workers have to be as they were, and no task may be lost or run twice.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

import psutil
import pytest

from tests.faults.work import Work
from tests.simulation import chronicle
from tests.support import brokers
from tests.support.brokers import SERVERS, Broker, MissingServerError, Server
from tests.support.daemon import Table
from tests.upgrades.layouts import Environment
from tests.upgrades.proofs import of_pool, pids
from tests.upgrades.stage import at_rest, wait_for
from trapd.history import SqliteHistory

if TYPE_CHECKING:
    from trapd.control import documents

WATCHDOG = 4.0  # s
DRAIN = 5.0  # s that a drain takes, about


class Life(Environment):
    """From ``with`` to its end: workers on RabbitMQ or Redis, at work all the time."""

    concurrency = 2
    trapd: ClassVar[Table] = {"watchdog": f"{WATCHDOG:g}s"}
    watch: Mapping[str, object] = {"quiet_period": "500ms", "ceiling": "2s", "look": "3s"}
    rollout: Mapping[str, object] = {"min_ready": "0s", "progress_deadline": "30s"}

    def __init__(self, home: Path, kept: Path, broker: Broker, server: Server, chance: random.Random) -> None:
        super().__init__(home, kept, broker)
        self.server, self.chance = server, chance
        self.killed = set[int]()
        self.work = Work(broker, home / "ledger.jsonl")

    def __enter__(self) -> Self:
        super().__enter__()
        self.work.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.work.__exit__(kind, error, at)
        super().__exit__(kind, error, at)
        if error is None:
            self._read_history()

    def _read_history(self) -> None:
        """The history, to its end, tells one story, in which every worker has left."""
        with closing(SqliteHistory(self.daemon.state / "history.sqlite")) as history:
            events = history.events(limit=1_000_000)
        chronicle.check(events)
        chronicle.check_end(events, [])

    def recovers(self) -> None:
        """Until all is as it was: workers, problems, tasks."""
        self.wait_until("recovery", lambda pool: at_rest(pool) and not pids(pool) & self.killed)
        self.work.wait_until_done()

    # -- who is there ----------------------------------------------------------------------------------------------

    def instances(self, *states: str) -> list[documents.Instance]:
        """The workers in one of these states that have a process."""
        return [one for one in of_pool(self)["instances"] if one["state"] in states and one["pid"]]

    def worker(self, *states: str) -> int:
        """The main process of one of them, by chance."""
        found: list[documents.Instance] = []

        def there() -> bool:
            found[:] = self.instances(*states)
            return bool(found)

        wait_for(f"worker that is {' or '.join(states)}", there)
        pid = self.chance.choice(found)["pid"]
        assert pid is not None
        return pid

    def child(self, *states: str) -> int:
        """A process of one of them that runs tasks."""
        children: list[int] = []

        def there() -> bool:
            with contextlib.suppress(psutil.NoSuchProcess):
                children[:] = [process.pid for process in psutil.Process(self.worker(*states)).children()]
            return bool(children)

        wait_for("worker's child", there)
        return self.chance.choice(children)

    def kill(self, pid: int) -> None:
        """A main process or a child; what it runs is lost."""
        self.work.excuse(pid)
        self.killed.add(pid)
        os.kill(pid, signal.SIGKILL)

    def daemon_pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    def restart_trapd(self) -> None:
        """As systemd does after a kill, as soon as the last worker has left."""
        wait_for("end of the workers", lambda: not self.daemon.living())
        self.daemon.start()
        SERVERS.add(self.daemon_pid())

    # -- moments ---------------------------------------------------------------------------------------------------

    def upgrade(self) -> None:
        """Install the next version; what comes of it is not waited for."""
        self.version = self.next_version()
        self.pip("install", "--force-reinstall", *self.offline(self.version))

    def in_rollout(self) -> tuple[str, ...]:
        """Begin a rollout and return in the middle of it, with the states of workers that are there then."""
        self.upgrade()
        self.wait_until("a new worker", lambda pool: len(pool["instances"]) > pool["wanted"])
        time.sleep(self.chance.uniform(0, 1.5))
        return ("starting", "ready")

    def in_drain(self) -> tuple[str, ...]:
        """Return as soon as a worker drains."""
        self.work.give(self.workers * self.concurrency, DRAIN)
        assert self.ctl("recycle", "--no-wait")[0] == 0
        wait_for("draining worker", lambda: self.instances("draining"))
        return ("draining",)

    def in_work(self) -> tuple[str, ...]:
        """Return at some moment of ordinary work."""
        time.sleep(self.chance.uniform(0, 1))
        return ("ready",)

    MOMENTS: ClassVar[Mapping[str, Callable[[Life], tuple[str, ...]]]] = {
        "at rest": in_work,
        "in a rollout": in_rollout,
        "in a drain": in_drain,
    }


def stopped(pid: int, seconds: float) -> None:
    """SIGSTOP, and SIGCONT if it is still there."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def a_broker(kind: str, folder: Path, stack: ExitStack) -> tuple[Broker, Server]:
    """One of the test's own, because things are done to it."""
    try:
        if kind == "rabbitmq":
            url, server = stack.enter_context(brokers.rabbitmq_server(folder))
            return brokers.on_rabbitmq(url), server
        url, server = stack.enter_context(brokers.redis_server(folder))
        broker = brokers.on_redis(url, 0)
        # What a killed worker had reserved comes back after this time, which is an hour by default.
        return replace(broker, config=broker.celeryconfig(broker_transport_options={"visibility_timeout": 20})), server
    except MissingServerError as error:
        pytest.skip(str(error))
