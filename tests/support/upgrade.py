"""One upgrade by pip in the middle of a steady load: the story that the acceptance test and the benchmark share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.brokers import Broker
from tests.support.daemon import Daemon, Status, Table, pool, settled_on
from tests.support.load import Load, Outcome, outcome
from tests.support.sample import APP, NAME, Application, read_ledger

WARM_UP = 12.0  # s; until then the tasks of 10 s are not yet there in their full number
BEFORE = 15.0  # s of steady load to compare with


@dataclass(frozen=True)
class Setting:
    """One row of the acceptance: a broker, how tasks are acknowledged, and how large the pool is."""

    broker: Broker
    acks_late: bool
    workers: int = 2
    concurrency: int = 4

    def celeryconfig(self) -> str:
        # With Celery's default of 4 a worker whose slots are all taken by long tasks would sit on short ones.
        return self.broker.celeryconfig(task_acks_late=self.acks_late, worker_prefetch_multiplier=1)

    def tables(self, application: Application) -> dict[str, Table]:
        """trapd.toml: everything not named here has its default."""
        return {
            "app": {"app": APP, "python": str(application.python)},
            "watch": {"distributions": [NAME]},
            "pools.default": {"workers": self.workers, "concurrency": self.concurrency},
        }


@dataclass(frozen=True)
class Upgrade:
    """What came of it."""

    outcome: Outcome
    before: Status
    after: Status

    @property
    def generations(self) -> int:
        """How many generations the upgrade made."""
        return int(pool(self.after)["generation"]) - int(pool(self.before)["generation"])


def upgrade_under_load(setting: Setting, application: Application, directory: Path) -> Upgrade:
    """Run trapd on 1.0, load it, install 2.0 in place, wait until all workers are on it. Takes 60 to 90 s.

    ``directory`` must be short and empty. Raises AssertionError if a state that must come does not.
    """
    application.put("1.0")
    seen: list[Status] = []
    with Daemon(directory, celeryconfig=setting.celeryconfig(), tables=setting.tables(application)) as daemon:

        def look(version: str, timeout: float) -> None:
            # Rarely: each question costs a tenth of a second of processor time, which the load would feel.
            what, true = f"workers on {version}", settled_on(version, setting.workers)
            seen.append(daemon.wait_until(what, true, timeout=timeout, every=2))

        look("1.0", 60)
        came = under_load(setting, application, directory, lambda: look("2.0", 120))
    return Upgrade(came, *seen)


def under_load(setting: Setting, application: Application, directory: Path, recycled: Callable[[], object]) -> Outcome:
    """Load the workers that run on 1.0, install 2.0 in place, and go on until ``recycled`` has returned."""
    load = Load(setting.broker, directory, slots=setting.workers * setting.concurrency)
    try:
        load.start()
        time.sleep(WARM_UP)
        steady_at = time.monotonic()
        time.sleep(BEFORE)
        pip = application.install(application.wheel("2.0"))
        recycled()
        time.sleep(2)
        sent = load.stop()
    finally:
        load.abandon()
    return outcome(sent, read_ledger(load.ledger), new="2.0", steady_at=steady_at, pip=pip)
