"""The tally: what became of each task that this worker received, by the task's name; and the tasks that run now.

Pure counting: worker/counting.py calls it from Celery's own callbacks. Counting takes a lock, because Celery's pool of
threads counts in its threads; whoever reads takes none, so the reader may be a thread that Celery does not know.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

MOST_ERRORS = 50  # classes of exceptions for each task name; further classes are counted as OTHER
OTHER = "(other)"


class Rows(Protocol):
    """Where the tasks that run are written down: a task table."""

    def put(self, id: str, name: str, since: float) -> int: ...
    def clear(self, place: int) -> None: ...


class Counts:
    """Of one task name. Each task that started runs, or has one of five ends: succeeded, failed, retried, withdrawn or
    revoked. A task that is revoked before its start counts as ``revoked`` and as ``unbegun``."""

    __slots__ = (
        *("failed", "longest", "received", "retried", "revoked"),
        *("seconds", "started", "succeeded", "unbegun", "withdrawn"),
    )

    def __init__(self) -> None:
        self.received = self.started = self.succeeded = self.retried = self.revoked = self.withdrawn = 0
        self.unbegun = 0  # of ``revoked``: never started
        self.failed: dict[str, int] = {}  # class of the exception -> number
        self.seconds = 0.0  # that the tasks took which ended
        self.longest = 0.0  # s that one of them took

    def plain(self) -> dict[str, Any]:
        """In plain values."""
        return {name: dict(self.failed) if name == "failed" else getattr(self, name) for name in self.__slots__}


class Run:
    """A task that runs. ``since``: seconds since the epoch; ``began``: the same moment of CLOCK_MONOTONIC."""

    __slots__ = ("began", "name", "place", "request", "since", "thread")

    def __init__(self, name: str, since: float, began: float, request: Any) -> None:
        self.name, self.since, self.began, self.request = name, since, began, request
        self.place = self.thread = 0


class Tally:
    """Of one worker, since it was started."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal's handler may count in the midst of a count
        self._counts: dict[str, Counts] = {}
        self._running: dict[Run, None] = {}
        self.rows: Rows | None = None  # none before the size of the Celery pool is known
        self.delivered: float | None = None  # seconds since the epoch: when the latest message came

    # --- what happens ---

    def received(self, name: str) -> None:
        with self._lock:
            self._of(name).received += 1

    def started(self, id: str, run: Run) -> None:
        with self._lock:
            self._of(run.name).started += 1
            self._running[run] = None
            if self.rows is not None:
                run.place = self.rows.put(id, run.name, run.since)

    def succeeded(self, run: Run, seconds: float) -> None:
        with self._lock:
            if counts := self._ended(run, seconds):
                counts.succeeded += 1

    def failed(self, run: Run, seconds: float, error: str) -> None:
        with self._lock:
            if counts := self._ended(run, seconds):
                known = error in counts.failed or len(counts.failed) < MOST_ERRORS
                key = error if known else OTHER
                counts.failed[key] = counts.failed.get(key, 0) + 1

    def retried(self, run: Run, seconds: float) -> None:
        with self._lock:
            if counts := self._ended(run, seconds):
                counts.retried += 1

    def withdrawn(self, run: Run, seconds: float) -> None:
        """The task raised Ignore or Reject, or was cancelled with a lost connection: no success and no failure."""
        with self._lock:
            if counts := self._ended(run, seconds):
                counts.withdrawn += 1

    def revoked(self, run: Run, seconds: float) -> None:
        """The task was terminated while it ran."""
        with self._lock:
            if counts := self._ended(run, seconds):
                counts.revoked += 1

    def discarded(self, name: str) -> None:
        """The task was revoked, or had expired, and was not started."""
        with self._lock:
            counts = self._of(name)
            counts.revoked += 1
            counts.unbegun += 1

    # --- for any thread ---

    def counts(self) -> Mapping[str, Counts]:
        return dict(self._counts)

    def running(self) -> list[Run]:
        """The tasks that run now, the oldest first."""
        return list(self._running)

    # --- the pieces ---

    def _of(self, name: str) -> Counts:
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = Counts()
        return counts

    def _ended(self, run: Run, seconds: float) -> Counts | None:
        """The counts of the task's name; None if its end was counted before."""
        if run not in self._running:
            return None
        del self._running[run]
        run.request = None  # which names the run: neither keeps the other in memory
        if self.rows is not None:
            self.rows.clear(run.place)
        counts = self._of(run.name)
        counts.seconds += seconds
        if seconds > counts.longest:
            counts.longest = seconds
        return counts
