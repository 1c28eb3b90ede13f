"""Processes of the Celery pool that were killed while they ran a task, for the report: which task, how, and whether the
kernel had no memory for it.

Celery replaces such a process and logs the loss in the midst of everything else.
"""

from __future__ import annotations

import re
import time
from typing import Any

from trapd.memory_events import MemoryKills

KEPT = 20  # losses that the report names
PER_HOUR = 30  # losses that are told; a task that kills again and again would fill the history
_HOW = re.compile(r"(signal \d+ \(\w+\)|exitcode -?\d+)")


class Lost:
    """Of one worker. Celery's loop writes, any thread reads: the list is replaced whole."""

    def __init__(self, kills: MemoryKills | None = None) -> None:
        self._kills = kills or MemoryKills()
        self._told: list[dict[str, Any]] = []
        self.processes = 0

    def add(self, id: str, name: str, why: str) -> None:
        """``why``: the words of Celery's WorkerLostError."""
        now = time.time()
        self.processes += 1
        memory = self._kills.rose()
        if sum(entry["wall"] > now - 3600 for entry in self._told) < PER_HOUR:
            entry = {"wall": now, "id": id, "task": name, "how": how(why), "memory": memory}
            self._told = [*self._told, entry][-PER_HOUR:]

    def told(self) -> list[dict[str, Any]]:
        """In plain values, the oldest first."""
        return self._told[-KEPT:]


def how(why: str) -> str:
    """Return the end of a process out of Celery's words: ``Worker exited prematurely: signal 9 (SIGKILL) Job: 3.``"""
    found = _HOW.search(why)
    return found[1] if found else why
