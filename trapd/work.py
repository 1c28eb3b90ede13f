"""The work of one worker, as the worker itself accounts for it: what it runs, and what became of all that it received.

Frozen values, as in model.py. Times are seconds since the epoch: a worker and trapd have no other clock in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ENOUGH = 10  # tasks of a name that have ended, to call another one unlike them


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
    roots: Mapping[str, int] | None = None  # ``failed``, of each submission once; None: an earlier trapd's worker
    latest: tuple[int, int] | None = None  # how many of the last ones ended, and failed as in ``roots``; None: as there
    unbegun: int = 0
    withdrawn: int = 0  # the task raised Ignore or Reject, or was cancelled with its connection
    seconds: float = 0.0  # of all that have ended
    longest: float = 0.0  # seconds of the longest of them

    @property
    def in_hand(self) -> int:
        """Those that were received and have not ended."""
        return self.received - self.ended - self.unbegun

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
    retrials: Mapping[str, TaskCounts] = field(default_factory=dict)  # of tasks that were delivered since each began
    compared: Mapping[str, TaskCounts] = field(default_factory=dict)  # the same, of the retrial that was continued


@dataclass(frozen=True, slots=True)
class Like:
    """The tasks of one name that have ended: how many, and the seconds of the longest of them."""

    ended: int
    longest: float

    def exceeded_by(self, seconds: float) -> bool:
        """Return whether a task that has run for so long runs far beyond its like: three times as long as the longest,
        and a minute longer, if there are enough of them to compare with."""
        return self.ended >= ENOUGH and seconds > max(3 * self.longest, self.longest + 60.0)


def likes(works: Iterable[Work]) -> Mapping[str, Like]:
    """Return what is known of each task name in these workers together."""
    found: dict[str, Like] = {}
    for work in works:
        for name, counts in work.counts.items():
            before = found.get(name, Like(0, 0.0))
            found[name] = Like(before.ended + counts.ended, max(before.longest, counts.longest))
    return {name: like for name, like in found.items() if like.ended}
