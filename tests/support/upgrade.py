"""One upgrade by pip in the middle of a steady load: the story that the acceptance test and the benchmark share."""

from __future__ import annotations

import time
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
    application.install(application.wheel("1.0"))
    daemon = Daemon(directory, celeryconfig=setting.celeryconfig(), tables=setting.tables(application))
    load = Load(setting.broker, directory, slots=setting.workers * setting.concurrency)
    with daemon:
        try:
            before = daemon.wait_until("workers on 1.0", settled_on("1.0", setting.workers))
            load.start()
            time.sleep(WARM_UP)
            steady_at = time.monotonic()
            time.sleep(BEFORE)
            pip = application.install(application.wheel("2.0"))
            # Rarely: each question costs a tenth of a second of processor time, which the load would feel.
            after = daemon.wait_until("workers on 2.0", settled_on("2.0", setting.workers), timeout=120, every=2)
            time.sleep(2)
            sent = load.stop()
        finally:
            load.abandon()
    ledger = read_ledger(load.ledger)
    return Upgrade(outcome(sent, ledger, new="2.0", steady_at=steady_at, pip=pip), before, after)
