"""Wait for trapd's word before the first task is taken, where the pool holds rollouts that drop or alter tasks.

trapd compares the registered tasks meanwhile. Without trapd, which may be stopped, workers have to serve all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from celery.exceptions import WorkerShutdown
from celery.worker import state

from trapd.worker.green import sleep
from trapd.worker.lines import log_line

PATIENCE = 10.0  # s
LOOK_EVERY = 0.02  # s


def wait(settings: Mapping[str, Any], admitted: Callable[[], bool]) -> None:
    """In the main thread, before the consumer is made. Raises WorkerShutdown if the worker is to exit."""
    deadline = time.monotonic() + PATIENCE
    while settings.get("waits_to_serve") and not admitted():
        if state.should_stop is not None or state.should_terminate is not None:
            raise WorkerShutdown(0)
        if time.monotonic() > deadline:
            log_line(f"trapd did not answer within {PATIENCE:g} s: serving without its word", "WARNING")
            return
        sleep(LOOK_EVERY)
