"""Celery's worker, in this process."""

from __future__ import annotations

import sys
from typing import Any

from trapd.worker import application, bootsteps, broker_files, report
from trapd.worker.health import Health, Reporter
from trapd.worker.job import Job
from trapd.worker.late_imports import LateImports
from trapd.worker.notify import Notifier

DEFAULT_CONCURRENCY = 1  # where neither trapd.toml nor Celery's settings say one: Celery takes every processor then


class Running:
    """Loads everything when it is made: whatever that raises is the code's own fault."""

    def __init__(self, job: Job, notifier: Notifier, watchdog: float, now: float) -> None:
        self.job = job
        settings = job.settings
        self.app, options = application.load(job, "worker")
        notifier.send({"STATUS": "starting"})  # handlers of celeryd_init and worker_init, and forking, come next
        self.reporter = Reporter(Health(bootsteps.counts, watchdog, now), notifier.send, LateImports(job).look)
        bootsteps.install(self.app, job, self.reporter)
        broker_files.prepare(self.app, job.node)
        ours = {
            "hostname": job.node,
            "pool": settings["celery_pool"],
            "concurrency": settings["concurrency"]
            or (None if self.app.conf.worker_concurrency else DEFAULT_CONCURRENCY),
            "queues": settings["queues"] or None,
            "max_tasks_per_child": settings["max_tasks_per_child"],
            "without_mingle": True,  # a second's wait at each start, only to learn revoked tasks
            "without_gossip": True,
            "loglevel": "INFO",
            "quiet": True,
        }
        self.worker: Any = self.app.Worker(**{**options, **ours})

    def run(self) -> int:
        """Until it is told to stop and has drained; the exit status."""
        versions = ", ".join(f"{name} {version}" for name, version in report.code_report(self.job)["versions"].items())
        print(f"trapd-worker: {self.job.instance} runs generation {self.job.number} ({versions})", flush=True)
        self.worker.start()
        try:
            broker_files.leave(self.app, self.job.node)
        except Exception as error:  # its work is done and well done, whatever is left lying about
            print(f"trapd-worker: cannot tidy the broker: {error}", file=sys.stderr)
        return self.worker.exitcode or 0
