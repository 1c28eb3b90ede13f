"""One queue of several that gives nothing although messages wait in it and others give theirs; and one process of
several that does not begin what it was given. Both pure; times are seconds of CLOCK_MONOTONIC.

The whole worker works meanwhile, so what worker/consuming.py asks of it does not tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trapd.sizes import counted
from trapd.worker import consuming

_FAIR = 4  # SCHED_STRATEGY_FAIR of celery.concurrency.asynpool
# s for which there was room, more than there was none, before the broker is asked: with a full prefetch there is room
# for moments only. An answer that takes longer counts only if there was room all the time.
STEADY = 5.0
SLOW_LOOK = 2.0  # s between two looks that count at most


class Unfed:
    """Of the queues of one worker. One thread calls ``look`` again and again; any thread ``answered``."""

    def __init__(self, now: float) -> None:
        self._seen: dict[str, tuple[object, float]] = {}  # queue -> its latest delivery, and since when that is so
        self._waited: dict[str, float] = {}  # queue -> when the broker first named messages in it since then
        self._roomy, self._looked = 0.0, now  # s with room, less those without; 0 to STEADY
        self._answer: tuple[Mapping[str, int], Collection[str], float] | None = None
        self._waiting: dict[str, int] = {}
        self.trouble, self.since = "", now

    def begin_anew(self) -> None:
        """It is not ready, drains, or its broker is away: nothing is expected of it."""
        self._seen, self._waited, self._waiting = {}, {}, {}
        self._roomy, self._answer = 0.0, None
        self.trouble = ""

    def look(self, delivered: Mapping[str, object], room: bool, now: float) -> list[str]:
        """Judge; return the queues to ask the broker for. ``delivered``: the queues that are consumed, each with what
        changes at a delivery; ``room``: the worker has a free slot, and would get another message."""
        for queue, mark in delivered.items():
            if self._seen.get(queue, (self, 0.0))[0] != mark:
                self._forget(queue)
                self._seen[queue] = mark, now
        for queue in self._seen.keys() - delivered.keys():  # consuming.py says that it is missed
            del self._seen[queue]
            self._forget(queue)
        if self._answer is not None:
            self._take(*self._answer, now)
        passed, self._looked = min(now - self._looked, SLOW_LOOK), now
        self._roomy = min(STEADY, max(0.0, self._roomy + (passed if room else -passed)))
        late = sorted(queue for queue in self._waiting if queue in self._waited)
        named = ", ".join(f"{self._waiting[queue]} in {queue}" for queue in late)
        self.trouble = f"messages wait ({named}), and none comes, while other queues give theirs" if late else ""
        if late:
            self.since = min(self._seen[queue][1] for queue in late)
        if len(delivered) == 1 or not room or self._roomy < STEADY:
            return []
        return sorted(queue for queue, (_, since) in self._seen.items() if now - since >= consuming.QUIET)

    def answered(self, waiting: Mapping[str, int] | None, asked: Collection[str], asked_at: float) -> None:
        """``waiting``: see Consuming.answered; of the queues in ``asked``, each once a minute at most."""
        if waiting is not None:
            self._answer = waiting, asked, asked_at

    def _take(self, waiting: Mapping[str, int], asked: Collection[str], asked_at: float, now: float) -> None:
        self._answer = None
        if now - asked_at > STEADY and self._roomy < STEADY:
            return
        for queue in self._seen.keys() & set(asked):
            since = self._seen[queue][1]
            if not waiting.get(queue) or since > asked_at - consuming.QUIET:
                self._forget(queue)
            elif queue not in self._waited:
                self._waited[queue] = asked_at
            elif asked_at - self._waited[queue] >= consuming.QUIET:
                self._waiting[queue] = waiting[queue]

    def _forget(self, queue: str) -> None:
        self._waited.pop(queue, None)
        self._waiting.pop(queue, None)


class Unbegun:
    """Of the processes of one worker's pool. From one thread."""

    def __init__(self) -> None:
        self._given: dict[object, float] = {}  # task that a process was given and has not begun -> since when
        self.trouble, self.since = "", 0.0

    def look(self, given: Collection[object], now: float) -> None:
        self._given = {task: self._given.get(task, now) for task in given}
        late = [since for since in self._given.values() if now - since >= consuming.QUIET]
        many = counted(len(late), "process", "processes")
        self.trouble = f"{many} of its pool did not begin the task that it was given" if late else ""
        self.since = min(late, default=now)


def given(pool: Any) -> list[object]:
    """Return the tasks that processes of Celery's prefork pool were given, as free processes, and have not begun. None
    in other pools, and where a process may be given a task while it runs another one (``-O fast``)."""
    inner: Any = getattr(pool, "_pool", None)
    if getattr(inner, "sched_strategy", None) != _FAIR or not hasattr(inner, "_cache"):
        return []
    jobs = list(inner._cache.values())
    return [job._job for job in jobs if not job._accepted and job._write_to is not None and job._write_to._is_alive()]
