"""Celery beat, in this process: on a generation's code, never two at once, and healthy by the turns of its loop.

Program, loop and scheduler are Celery's own, whichever class ``beat_scheduler`` names. Three things are added: each
turn of the loop is stamped; a SIGTERM ends the loop between two tasks (Celery's own handler may leave in the middle of
one, which is then noted as sent, and was not); and before the loop begins a lock is taken, which the kernel gives back
however this process ends.
"""

from __future__ import annotations

import fcntl
import os
import select
import shelve
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

from celery import Celery
from celery.exceptions import OperationalError

from trapd.worker import application, report
from trapd.worker.health import Health, Phase, Reporter
from trapd.worker.job import Job
from trapd.worker.late_imports import LateImports
from trapd.worker.lines import log_line
from trapd.worker.log_format import mark_priorities
from trapd.worker.notify import Notifier

LOCK = "beat.lock"  # beside the pools' folders: of all pools, so that one of another name waits as well
STAMP_EVERY = 5.0  # s at most between two stamps, however long the next task is away
LAST_CHANCE = 5.0  # s after SIGTERM that a task which is being sent may still take


class Beating:
    """Loads everything when it is made: whatever that raises is the code's own fault."""

    def __init__(self, job: Job, notifier: Notifier, watchdog: float, now: float) -> None:
        self.job, self._notifier = job, notifier
        self.app, options = application.load(job, "beat")
        self.reporter = Reporter(Health(lambda: (0, 0), watchdog, now), notifier.send, LateImports(job).look)
        self._stamp_every = min(STAMP_EVERY, watchdog / 6) if watchdog else STAMP_EVERY
        self._kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._sending = False
        self._unsent = False  # the last task did not get through to the broker
        self._free_to_go = False  # nothing is under way: a SIGTERM may end us at once
        self._lock: TextIO | None = None
        self._service: Any = None
        try:
            schedule = job.keep / self.app.conf.beat_schedule_filename  # one with a folder of its own goes there
        except OSError as error:
            raise report.ConfigurationError(f"cannot keep beat's schedule: {error}") from error
        ours = {"loglevel": job.settings.get("loglevel", "INFO"), "schedule": str(schedule), "quiet": True}
        self.beat = _prepared_by(self._begin, self.app)(**{**options, **ours})
        # as `celery beat` does before its banner: a beat_scheduler that cannot be imported is the code's fault
        self.beat.Service(app=self.app, scheduler_cls=self.beat.scheduler_cls).get_scheduler(lazy=True)

    def run(self) -> int:
        """Until it is told to stop; the exit status."""
        versions = ", ".join(f"{name} {version}" for name, version in report.code_report(self.job)["versions"].items())
        log_line(f"{self.job.instance} beats generation {self.job.number} ({versions})")
        try:
            self.beat.start_scheduler()
        except SystemExit:  # told to while it waited for the other beat, or for its broker
            if self._service is not None and "scheduler" in vars(self._service):
                self._service.sync()
        return 0

    # --- before the loop ----------------------------------------------------------------------------------------------

    def _begin(self, service: Any) -> None:
        """Where Celery would install handlers of its own: the last thing before its loop."""
        self._service = service
        mark_priorities()
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGINT, self._leave)
        signal.signal(signal.SIGALRM, _give_up)
        with self._interruptible():
            self._be_alone()
        scheduler = service.scheduler  # made now: it reads the schedule, which is nobody else's any more
        if not scheduler.sync_every_tasks:  # Celery's default: every 3 min, so that a crash sends what was sent before
            scheduler.sync_every_tasks = 1
        scheduler.sync = saving(scheduler, scheduler.sync)
        self.reporter.start()
        self.reporter.enter(Phase.CONNECTING)
        with self._interruptible():
            _ = scheduler.producer  # connects, as the first task would: who cannot send is not ready
        scheduler.tick = self._stamped(scheduler, scheduler.tick)
        scheduler.apply_async = self._watched(scheduler.apply_async)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        self._free_to_go = True
        try:
            if self._service._is_shutdown.is_set():
                raise SystemExit(0)
            yield
        finally:
            self._free_to_go = False

    def _be_alone(self) -> None:
        """Wait until no other beat runs on this machine, and keep the others waiting as long as this process lives."""
        self._lock = (self.job.keep.parent / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log_line("another beat runs here; waiting for its end", "WARNING")
            self._notifier.send({"STATUS": "waiting for the end of another beat"})
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    # --- in the loop --------------------------------------------------------------------------------------------------

    def _stamped(self, scheduler: Any, tick: Callable[..., float | None]) -> Callable[..., float]:
        """A turn that also sleeps, stamping meanwhile; so Celery's loop, which would sleep in one piece, need not."""

        def turn(*args: Any, **options: Any) -> float:
            interval = tick(*args, **options)
            self._turned()
            if interval and interval > 0:
                self._rest(interval)
                if scheduler.should_sync():
                    scheduler._do_sync()
            return 0.0

        return turn

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._service._is_shutdown.is_set() and (left := until - time.monotonic()) > 0:
            select.select([self._kick], [], [], min(left, self._stamp_every))
            self._turned()

    def _turned(self) -> None:
        self.reporter.stamp()
        health = self.reporter.health
        if self._unsent or health.phase is Phase.READY:
            return
        if not health.was_ready:
            report.write(self.job, report.ready_report(self.job))  # before READY: who hears that may read this
        self.reporter.enter(Phase.READY)

    def _watched(self, apply_async: Callable[..., Any]) -> Callable[..., Any]:
        """Sending, of which is known whether the broker was there: one that is away is no reason to kill anybody."""
        with self.app.connection_for_write() as connection:
            away = (OperationalError, *connection.recoverable_connection_errors)

        def send(*args: Any, **options: Any) -> Any:
            self._sending = True
            try:
                sent = apply_async(*args, **options)
            except Exception as error:
                self._unsent = isinstance(error, away) or isinstance(error.__context__, away)
                if self._unsent and self.reporter.health.was_ready:
                    self.reporter.enter(Phase.RECONNECTING)
                raise
            finally:
                self._sending = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            self._unsent = False
            return sent

        return send

    # --- the end ------------------------------------------------------------------------------------------------------

    def _leave(self, number: int, frame: FrameType | None) -> None:
        self.reporter.enter(Phase.DRAINING)
        self._service._is_shutdown.set()
        os.eventfd_write(self._kick, 1)
        if self._free_to_go:
            raise SystemExit(0)
        if self._sending:
            signal.setitimer(signal.ITIMER_REAL, LAST_CHANCE)


def saving(scheduler: Any, sync: Callable[[], None]) -> Callable[[], None]:
    """Celery's ``sync`` of its scheduler, after which the schedule is in its file, whatever kind of dbm that is.

    dbm.ndbm, which Debian's Python takes, has no ``sync``, so that of ``shelve`` does nothing (3.11: "if hasattr"): it
    writes when it is closed. A beat that was killed left none of what it had sent (tried: 3 tasks of 27 not counted).
    """

    def save() -> None:
        sync()
        store = getattr(scheduler, "_store", None)
        if isinstance(store, shelve.Shelf) and not hasattr(vars(store)["dict"], "sync"):
            store.close()
            scheduler._store = scheduler._open_schedule()

    return save


def _give_up(number: int, frame: FrameType | None) -> None:
    """The broker did not take the task: it counts as sent, for it may have been."""
    raise SystemExit(0)


def _prepared_by(begin: Callable[[Any], None], app: Celery) -> Any:
    """The application's own class of beat; ``begin`` gets its service before the loop."""

    class Prepared(app.Beat):  # type: ignore[misc]
        def install_sync_handler(self, service: Any) -> None:
            begin(service)

    return Prepared
