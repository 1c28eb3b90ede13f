"""Has this worker's main process more memory than it may have (``max_memory``)? Its children are Celery's concern."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path

from trapd.worker.health import Health

EVERY = 10.0  # s between two looks, each of which reads a file of the kernel
_STATM = Path("/proc/self/statm")
_LESS = 0.95  # of the limit: below that it is well again; a size that goes to and fro is told once


class OwnMemory:
    """``limit`` in bytes; None: no limit, and nothing is read. ``size`` gives the resident memory in bytes."""

    def __init__(self, limit: int | None, size: Callable[[], int] | None = None) -> None:
        self._limit, self._size = limit, size or resident
        self._looked = -EVERY

    def look(self, health: Health) -> None:
        """In the reporter's thread, before it speaks."""
        now = time.monotonic()
        if self._limit is None or now - self._looked < EVERY:
            return
        self._looked = now
        size = self._size()
        if size > self._limit and not health.outgrown:
            health.outgrown = f"its main process has {size >> 20} MiB, more than max_memory = {self._limit >> 20} MiB"
        elif size < self._limit * _LESS:
            health.outgrown = ""


def resident() -> int:
    """Return the bytes of this process that are in memory; 0 if the kernel does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
