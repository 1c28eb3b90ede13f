"""One upgrade by pip while every worker has a long task: the story that the acceptance test and the benchmark share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.brokers import Broker
from tests.support.daemon import Daemon, Status, Table, pool, settled_on
from tests.support.sample import NAP, Application, read_ledger
from tests.support.upgrade import Setting

LOOK = 0.5  # s between two looks at the status


@dataclass
class Rolled:
    """What came of it."""

    seconds: float = 0.0  # from pip's end until the last old worker had left
    fewest_ready: int = 1 << 30
    most_alive: int = 0
    most_draining: int = 0
    problems: set[str] = field(default_factory=set)

    def look(self, status: Status) -> None:
        states = [instance["state"] for instance in pool(status)["instances"]]
        self.fewest_ready = min(self.fewest_ready, states.count("ready"))
        self.most_alive = max(self.most_alive, len(states) - states.count("failed"))
        self.most_draining = max(self.most_draining, states.count("draining"))
        self.problems |= set(pool(status)["problems"])


def upgrade_with_long_tasks(
    broker: Broker,
    application: Application,
    directory: Path,
    *,
    task: float,
    workers: int = 4,
    in_step: bool = False,
    policy: Table | None = None,
) -> Rolled:
    """Run trapd on 1.0, give each worker tasks of ``task`` seconds, of which each has another part behind it, install
    2.0 in place, and wait until the last old worker has left. ``in_step``: whether the tasks of all workers begin
    together, so that each old worker which waits for another one has just begun a task when its turn comes. ``policy``:
    of [rollout].

    ``directory`` must be short and empty. Raises AssertionError if a state that must come does not.
    """
    application.put("1.0")
    setting = Setting(broker, acks_late=False, workers=workers, concurrency=1)
    tables = setting.tables(application) | {"rollout": policy or {}}
    path, app, rolled = directory / "ledger.jsonl", broker.app(), Rolled()
    with Daemon(directory, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("workers", settled_on("1.0", workers))
        for number in range(1, workers + 1):
            app.send_task(NAP, (task if in_step else task * number / workers, str(path)))
        for _ in range(workers * (workers + 1)):  # as many as run until the last old one has left, one by one
            app.send_task(NAP, (task, str(path)))
        while sum(entry.event == "start" for entry in read_ledger(path)) < workers:
            time.sleep(0.1)
        _, ended = application.install(application.wheel("2.0"))

        def all_new(status: Status) -> bool:
            rolled.look(status)
            return settled_on("2.0", workers)(status)

        daemon.wait_until("new workers", all_new, timeout=60 + task * (workers + 1), every=LOOK)
        rolled.seconds = time.monotonic() - ended
        app.control.purge()
        deadline = time.monotonic() + task + 10
        while _running(path) and time.monotonic() < deadline:
            time.sleep(0.1)
    return rolled


def _running(ledger: Path) -> int:
    events = [entry.event for entry in read_ledger(ledger)]
    return events.count("start") - events.count("end")
