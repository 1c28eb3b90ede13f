"""Wait for trapd's word before the first task is taken: trapd compares the registered tasks meanwhile.

Where the pool holds rollouts that drop or alter tasks, each worker waits. Elsewhere only the first worker of a new
generation does, and for a moment, so that what its code lacks is told before it serves. Without trapd, which may be
stopped, workers have to serve all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from celery.exceptions import WorkerShutdown
from celery.worker import state

from trapd.worker.green import sleep
from trapd.worker.job import Job
from trapd.worker.lines import log_line

PATIENCE, A_MOMENT = 10.0, 3.0  # s
NEW = 600.0  # s since the generation was made
LOOK_EVERY = 0.02  # s
FIRST_SLOT = "1"


def patience(job: Job, now: float) -> float:
    """Return the seconds that this worker waits at most. ``now``: since the epoch."""
    match job.settings.get("on_missing_tasks"):
        case "hold":
            return PATIENCE
        case "warn" if job.slot.partition("-")[2] == FIRST_SLOT and 0 <= now - job.manifest["wall"] < NEW:
            return A_MOMENT
        case _:
            return 0.0


def wait(at_most: float, admitted: Callable[[], bool]) -> None:
    """In the main thread, before there is a consumer. Raises WorkerShutdown if the worker is to exit."""
    deadline = time.monotonic() + at_most
    while at_most and not admitted():
        if state.should_stop is not None or state.should_terminate is not None:
            raise WorkerShutdown(0)
        if time.monotonic() > deadline:
            log_line(f"trapd did not answer within {at_most:g} s: serving without its word", "WARNING")
            return
        sleep(LOOK_EVERY)
