"""Celery's worker, in this process."""

from __future__ import annotations

from typing import Any

from trapd.masking import mask
from trapd.worker import application, bootsteps, broker_files, ending, goodbye, report
from trapd.worker.health import Health, Reporter
from trapd.worker.job import Job
from trapd.worker.late_imports import LateImports
from trapd.worker.lines import log_line
from trapd.worker.log_format import mark_priorities
from trapd.worker.notify import Notifier
from trapd.worker.own_account import OwnAccount
from trapd.worker.own_memory import OwnMemory
from trapd.worker.remote import Remote
from trapd.worker.statedb import own_file

DEFAULT_CONCURRENCY = 1  # where neither trapd.toml nor Celery's settings say one: Celery takes every processor then
DEFAULT_LOGLEVEL = "INFO"  # not Celery's WARNING: a log that says which task ran is worth its place

# What goes to Celery's worker as it is, where trapd.toml says it.
_OPTIONS = (
    *("prefetch_multiplier", "time_limit", "soft_time_limit", "max_memory_per_child", "optimization"),
    "exclude_queues",
)


class Running:
    """Loads everything when it is made: whatever that raises is the code's own fault."""

    def __init__(self, job: Job, notifier: Notifier, watchdog: float, now: float) -> None:
        self.job = job
        settings = job.settings
        self.account = OwnAccount(job)
        self.account.open()
        self.app, options = application.load(job, "worker")
        notifier.send({"STATUS": "starting"})  # handlers of celeryd_init and worker_init, and forking, come next
        remote = Remote(self._note_reason)
        late = LateImports(job, remote.standing, self.account.aside, self.account.lost, remote.taken)
        memory = OwnMemory(settings.get("max_memory"))

        def look(health: Health) -> None:
            late.look(health)
            self.account.consumption.look(health)
            memory.look(health)

        self.reporter = Reporter(Health(bootsteps.counts, watchdog, now), notifier.send, look)
        bootsteps.install(self.app, job, self.reporter, self.account)
        remote.listen()
        broker_files.prepare(self.app, job.node)
        if name := settings.get("statedb"):  # one without a folder lies in the pool's own
            self.app.conf.worker_state_db = str(job.keep / name)
        if setting := self.app.conf.worker_state_db:
            self.app.conf.worker_state_db = own_file(str(setting), job.pool, job.slot, job.host)
        ours = {
            "hostname": job.node,
            "pool": settings["celery_pool"],
            "concurrency": settings["concurrency"]
            or (None if self.app.conf.worker_concurrency else DEFAULT_CONCURRENCY),
            "queues": settings["queues"] or None,
            "max_tasks_per_child": settings["max_tasks_per_child"],
            "without_mingle": True,  # a second's wait at each start, only to learn revoked tasks
            "without_gossip": True,
            "loglevel": settings.get("loglevel", DEFAULT_LOGLEVEL),
            "quiet": True,
            **{name: settings[name] for name in _OPTIONS if name in settings},
        }
        self.worker: Any = self.app.Worker(**{**options, **ours})
        mark_priorities()
        ending.watch(self.worker, self._ends)

    def run(self) -> int:
        """Until it is told to stop and has drained; the exit status."""
        versions = ", ".join(f"{name} {version}" for name, version in report.code_report(self.job)["versions"].items())
        log_line(f"{self.job.instance} runs generation {self.job.number} ({versions})")
        goodbye.limit(self.worker)
        self.worker.start()
        self.account.close()
        try:
            broker_files.leave(self.app, self.job.node)
        except Exception as error:  # its work is done and well done, whatever is left lying about
            log_line(f"cannot tidy the broker: {error}", "ERROR")
        return self.worker.exitcode or 0

    def _ends(self, why: ending.Ending) -> None:
        """It lets running tasks end before it leaves, which may take hours: the reason is told now."""
        self._note_reason(why.summary)
        report.write(self.job, report.ending_report(self.job, *why))

    def _note_reason(self, why: str) -> None:
        self.reporter.health.because = mask(why)
