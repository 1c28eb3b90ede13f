"""The tally: what became of each task that this worker received, by the task's name; and the tasks that run now.

Beside it a *retrial* counts the tasks of one name that were delivered after it began: trapd compares these with the
same tasks of other workers. What a worker had reserved before is no matter of chance any more.

Pure counting: worker/counting.py calls it from Celery's own callbacks. Counting takes a lock, because Celery's pool of
threads counts in its threads; whoever reads takes none, so the reader may be a thread that Celery does not know.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

MOST_ERRORS = 50  # classes of exceptions for each task name; further classes are counted as OTHER
OTHER = "(other)"
ENOUGH = 10  # tasks of a name that have ended, to call another one unlike them; as in work.py
LATEST = 50  # tasks of a name whose outcome is remembered
MOST_ROOTS = 1000  # roots of failures that are remembered, for each task name; the oldest is forgotten, and counts anew
_FULL = 1 << LATEST  # see Counts._outcomes
_NO_EVIDENCE = frozenset({"SoftTimeLimitExceeded"})  # as in rollout/judge.py


class Rows(Protocol):
    """Where the tasks that run are written down: a task table."""

    def put(self, id: str, name: str, since: float) -> int: ...
    def clear(self, place: int) -> None: ...


class Counts:
    """Of one task name. Each task that started runs, or has one of five ends: succeeded, failed, retried, withdrawn or
    revoked. A task that is revoked before its start counts as ``revoked`` and as ``unbegun``.

    ``roots``: as ``failed``, but of the tasks that one submission has brought only the first that failed. ``latest``:
    how many of the last ``LATEST`` tasks have succeeded or failed, and failed, counted in this way: an outage of long
    ago is not in them."""

    PLAIN = (
        *("failed", "longest", "received", "retried", "revoked", "roots"),
        *("seconds", "started", "succeeded", "unbegun", "withdrawn"),
    )
    __slots__ = (*PLAIN, "_known", "_outcomes")

    def __init__(self) -> None:
        self.received = self.started = self.succeeded = self.retried = self.revoked = self.withdrawn = 0
        self.unbegun = 0  # of ``revoked``: never started
        self.failed: dict[str, int] = {}  # class of the exception -> number
        self.roots: dict[str, int] = {}
        self._known: dict[str, None] = {}  # the roots of failures, the oldest first
        self._outcomes = 1  # a bit for each of the latest tasks, 1 if it failed; before them the bit of their number
        self.seconds = 0.0  # that the tasks took which ended
        self.longest = 0.0  # s that one of them took

    def plain(self) -> dict[str, Any]:
        """In plain values."""
        found = {name: getattr(self, name) for name in self.PLAIN}
        plain = {name: dict(value) if isinstance(value, dict) else value for name, value in found.items()}
        outcomes = self._outcomes
        return plain | {"latest": [outcomes.bit_length() - 1, outcomes.bit_count() - 1]}

    def succeed(self) -> None:
        self.succeeded += 1
        self._note(0)

    def fail(self, error: str, root: str | None) -> None:
        """Count a failure. ``root``: what brought the task; None: not known."""
        key = error if error in self.failed or len(self.failed) < MOST_ERRORS else OTHER
        self.failed[key] = self.failed.get(key, 0) + 1
        if root is not None:
            if root in self._known:
                return
            if len(self._known) >= MOST_ROOTS:
                del self._known[next(iter(self._known))]
            self._known[root] = None
        self.roots[key] = self.roots.get(key, 0) + 1
        if error not in _NO_EVIDENCE:
            self._note(1)

    def _note(self, failed: int) -> None:
        outcomes = self._outcomes << 1 | failed
        self._outcomes = outcomes if outcomes < 2 * _FULL else outcomes & (_FULL - 1) | _FULL


def far_beyond(counts: Counts, seconds: float) -> bool:
    """Does a task that has run for so long run far beyond its like? As trapd judges it (work.py)."""
    ended = counts.succeeded + sum(counts.failed.values()) + counts.retried + counts.withdrawn
    return ended >= ENOUGH and seconds > max(3 * counts.longest, counts.longest + 60.0)


class Run:
    """A task that runs. ``since``: seconds since the epoch; ``began``: the same moment of CLOCK_MONOTONIC.

    ``root``: what brought it, see ``Counts.roots``; ``retrial``: the counts of the retrial that it is part of.
    """

    __slots__ = ("began", "name", "place", "request", "retrial", "root", "since", "thread")

    def __init__(
        self,
        name: str,
        since: float,
        began: float,
        request: Any,
        root: str | None = None,
        retrial: Counts | None = None,
    ) -> None:
        self.name, self.since, self.began, self.request = name, since, began, request
        self.root, self.retrial = root, retrial
        self.place = self.thread = 0


class Tally:
    """Of one worker, since it was started."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal's handler may count in the midst of a count
        self._counts: dict[str, Counts] = {}
        self._running: dict[Run, None] = {}
        # task name -> mark, counts, and those of the retrial that it continues; replaced, never changed
        self._retrials: dict[str, tuple[str, Counts, Counts | None]] = {}
        self.rows: Rows | None = None  # none before the size of the Celery pool is known
        self.delivered: float | None = None  # seconds since the epoch: when the latest message came
        self.by_queue: dict[str | None, float] = {}  # the same, of each queue; None: the queue is not known

    # --- what happens ---

    def received(self, name: str) -> Counts | None:
        """Return the counts of the retrial that this task is part of, if there is one."""
        with self._lock:
            self._of(name).received += 1
            retrial = self._retrials.get(name)
            if retrial is None:
                return None
            retrial[1].received += 1
            return retrial[1]

    def started(self, id: str, run: Run) -> None:
        with self._lock:
            self._of(run.name).started += 1
            self._running[run] = None
            if self.rows is not None:
                run.place = self.rows.put(id, run.name, run.since)

    def succeeded(self, run: Run, seconds: float) -> None:
        with self._lock:
            for counts in self._ended(run, seconds):
                counts.succeed()

    def failed(self, run: Run, seconds: float, error: str) -> None:
        with self._lock:
            for counts in self._ended(run, seconds):
                counts.fail(error, run.root)

    def retried(self, run: Run, seconds: float) -> None:
        with self._lock:
            for counts in self._ended(run, seconds):
                counts.retried += 1

    def withdrawn(self, run: Run, seconds: float) -> None:
        """The task raised Ignore or Reject, or was cancelled with a lost connection: no success and no failure."""
        with self._lock:
            for counts in self._ended(run, seconds):
                counts.withdrawn += 1

    def revoked(self, run: Run, seconds: float) -> None:
        """The task was terminated while it ran."""
        with self._lock:
            for counts in self._ended(run, seconds):
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

    def retrials(self, marks: Mapping[str, str]) -> Mapping[str, Counts]:
        """Return the counts of these retrials, by task name. One whose mark is new begins now; others end. From one
        thread alone."""
        known = self._retrials
        fresh = {name: (mark, Counts(), self._continued(name, mark)) for name, mark in marks.items()}
        kept = {name: known[name] for name, mark in marks.items() if name in known and known[name][0] == mark}
        self._retrials = {**fresh, **kept}
        return {name: counts for name, (_, counts, _) in self._retrials.items()}

    def compared(self) -> Mapping[str, Counts]:
        """Return what the retrials count that were continued: the tasks that were delivered before that."""
        return {name: before for name, (_, _, before) in self._retrials.items() if before is not None}

    # --- the pieces ---

    def _continued(self, name: str, mark: str) -> Counts | None:
        """A mark that begins with the one before, and a dot, continues it."""
        before, counts, _ = self._retrials.get(name, ("", None, None))
        return counts if before and mark.startswith(f"{before}.") else None

    def _of(self, name: str) -> Counts:
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = Counts()
        return counts

    def _ended(self, run: Run, seconds: float) -> tuple[Counts, ...]:
        """The counts in which this end counts; none if it was counted before."""
        if run not in self._running:
            return ()
        del self._running[run]
        run.request = None  # which names the run: neither keeps the other in memory
        if self.rows is not None:
            self.rows.clear(run.place)
        whole = self._of(run.name)
        found = (whole,) if run.retrial is None else (whole, run.retrial)
        for counts in found:
            counts.seconds += seconds
            if seconds > counts.longest:
                counts.longest = seconds
        return found
