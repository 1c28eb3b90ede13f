"""The work of one worker, as the worker itself accounts for it: what it runs, and what became of all that it received.

Frozen values, as in model.py. Times are seconds since the epoch: a worker and trapd have no other clock in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A task that runs. ``queue``: where its message came from; None where that is not known."""

    id: str
    name: str
    since: float
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """What became of the tasks of one name in one run of a worker.

    Each task that started runs, or has one of five ends. ``unbegun`` of the revoked tasks never started.
    """

    received: int = 0
    started: int = 0
    succeeded: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)  # class of the exception -> number
    retried: int = 0
    revoked: int = 0
    unbegun: int = 0
    withdrawn: int = 0  # the task raised Ignore or Reject, or was cancelled with its connection
    seconds: float = 0.0  # of all that have ended
    longest: float = 0.0  # seconds of the longest of them

    @property
    def ended(self) -> int:
        begun = self.succeeded + sum(self.failed.values()) + self.retried + self.withdrawn + self.revoked
        return begun - self.unbegun


@dataclass(frozen=True, slots=True)
class Work:
    """``unanswered``: why the worker did not answer; then only ``running`` is known, from its task table."""

    running: tuple[TaskRun, ...] = ()
    unanswered: str = ""
    phase: str = ""
    reserved: int = 0  # tasks that it holds, and that do not run
    queues: tuple[str, ...] = ()  # that it consumes now
    delivered: float | None = None  # when the latest message came
    counts: Mapping[str, TaskCounts] = field(default_factory=dict)
