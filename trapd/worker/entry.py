"""The worker's main line: find the code, load it, run Celery's worker in this process, say how it went."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trapd import environment
from trapd.worker import green, imports, numba_cache, oldest_celery, output, report, sudden_exit
from trapd.worker.job import Job
from trapd.worker.launch import EX_CONFIG, LaunchError
from trapd.worker.lines import log_line
from trapd.worker.notify import Notifier, watchdog_seconds
from trapd.worker.seal import seal

if TYPE_CHECKING:
    from trapd.worker.beating import Beating
    from trapd.worker.running import Running

EX_SOFTWARE = 70  # the application or its configuration could not be loaded
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """The exit status: 0 drained, 70 the code could not be loaded, 78 there is nothing to load, else Celery's own."""
    output.forgive()
    try:
        job = Job.parse(arguments)
    except LaunchError as error:
        log_line(f"cannot start: {error}", "ERROR")
        return EX_CONFIG
    drain_with_parent(job.shared)
    seal(job.generation)
    imports.put_first(job.folders)
    for module in imports.forget(job.packages, job.code):
        log_line(f"a start-up file has imported {module}; it is imported again from the snapshot")
    imports.blind_finders(job.packages, job.code)
    notifier = Notifier()
    notifier.send({"STATUS": "importing"})
    cache = numba_cache.wanted(job.shared, os.environ)
    try:
        with sudden_exit.reported(job):
            running = _program(job)(job, notifier, watchdog_seconds(), time.monotonic())
    except (Exception, SystemExit) as error:
        cache.abandon()
        failure = report.failure_report(job, error)
        report.write(job, failure)
        log_line(f"cannot load the code\n{failure['failure']['detail']}".rstrip(), "ERROR")
        return EX_SOFTWARE
    cache.publish()
    return running.run()


def _program(job: Job) -> type[Running] | type[Beating]:
    """kombu comes with these imports: not before the snapshot is on the path, and a green Celery pool has patched."""
    if job.settings.get("run") == "beat":
        _require_celery()
        from trapd.worker.beating import Beating

        return Beating
    green.patch(job.settings["celery_pool"])
    _require_celery()
    from trapd.worker.running import Running

    return Running


def _require_celery() -> None:
    """Before the first import of what an older one has not: its ModuleNotFoundError names no remedy."""
    import celery

    oldest_celery.require(celery.__version__)


def drain_with_parent(folder: Path) -> None:
    """Where trapd itself is the parent, its death is our SIGTERM: workers must not be orphans.

    It then starts in the workers' own ``folder``, as under systemd: tasks may write there, relative to it.
    """
    parent = os.environ.pop(environment.PARENT, "")
    if not parent:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chdir(folder)
    except OSError as error:
        log_line(f"cannot start in {folder}: {error.strerror}; it starts in /", "WARNING")
        os.chdir("/")
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before we asked
        sys.exit(0)
