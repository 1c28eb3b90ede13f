"""Does this worker take the tasks that it is there for? Judged from what its own process knows, and from the broker's
answer to one question, which worker/waiting.py asks. Pure; all times are seconds of CLOCK_MONOTONIC.

Four ways not to: a configured queue is not consumed any more (``cancel_consumer``); messages were delivered, and the
pool starts none of them although it has free slots (its children stand still); messages wait in the queues, and none
comes although the worker has room for them (a consumer that was lost, a connection that is half dead); the main loop
waits for the broker for ever on a connection that is dead, while the broker answers on another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trapd.sizes import counted

QUIET = 60.0  # s without progress, and between two questions to the broker, at least
SLOW_CHILDREN = 10  # times QUIET: so long may the pool's processes take to start before that counts as standing still


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the worker's own process. ``delivered``, ``started``: they change with each delivery and start."""

    missing: tuple[str, ...] = ()  # queues that it is configured to consume, and does not
    delivered: object = None
    started: object = None
    slots: int = 1  # tasks that may run at a time
    active: int = 0  # tasks that run
    unstarted: int = 0  # tasks that the pool was given and has not started
    starting: bool = False  # no process of the pool that has started is free
    cut_off: bool = False  # its main loop waits for the broker

    @property
    def free(self) -> bool:
        return self.active < self.slots


class Consuming:
    """Of one worker. One thread calls ``look`` again and again; any thread ``answered``, with what the broker said."""

    def __init__(self, now: float) -> None:
        self._missing_since: float | None = None
        self._given: tuple[object, float] | None = None  # what was started when tasks first waited in the pool
        self._delivered: object = None
        self._quiet_since = self._asked_at = now  # since when there was room and nothing came
        self._waiting: Mapping[str, int] = {}  # as of the last answer: messages in its queues
        self._cut_off = self._reached = False  # as last seen; as of the last answer: the broker gave one
        self._waited = False  # it was so at the answer before, too
        self._answer: tuple[Mapping[str, int] | None, float] | None = None  # that was not taken note of yet
        self.trouble = ""  # why it does not consume; empty if nothing speaks against it
        self.since = now  # since when it has not consumed

    def serve_not(self, now: float) -> None:
        """It is not ready, drains, or its broker is away: nothing is expected of it."""
        self._missing_since = self._given = None
        self.trouble = ""
        self._begin_anew(now)

    def look(self, seen: Seen, now: float) -> bool:
        """Judge; return whether to ask the broker now."""
        self._missing_since = (self._missing_since or now) if seen.missing and not seen.cut_off else None
        stuck = seen.free and seen.unstarted > 0 and not seen.cut_off
        if not stuck or self._given is None or self._given[0] != seen.started:
            self._given = (seen.started, now) if stuck else None
        if seen.delivered != self._delivered or not seen.free or stuck or seen.cut_off is not self._cut_off:
            self._delivered, self._cut_off = seen.delivered, seen.cut_off
            self._begin_anew(now)
        if self._answer is not None:
            self._take(*self._answer)
        self.trouble, self.since = self._judge(seen, now)
        return now - max(self._quiet_since, self._asked_at) >= QUIET

    def asked(self, now: float) -> None:
        self._asked_at = now

    def answered(self, waiting: Mapping[str, int] | None, asked_at: float) -> None:
        """``waiting``: queues in which messages wait, and how many; None: nobody could tell, which proves nothing."""
        self._answer = waiting, asked_at

    def _take(self, waiting: Mapping[str, int] | None, asked_at: float) -> None:
        self._answer = None
        if self._quiet_since > asked_at:  # something came meanwhile
            return
        both = self._reached and waiting is not None
        self._waited = both and (self._cut_off or bool(self._waiting.keys() & (waiting or {}).keys()))
        self._waiting, self._reached = waiting or {}, waiting is not None

    def _begin_anew(self, now: float) -> None:
        self._quiet_since, self._waiting = now, {}
        self._reached = self._waited = False

    def _judge(self, seen: Seen, now: float) -> tuple[str, float]:
        if self._missing_since is not None and now - self._missing_since >= QUIET:
            many = "queues" if len(seen.missing) > 1 else "queue"
            return f"it does not take from {many} {', '.join(seen.missing)}", self._missing_since
        if self._given is not None and now - self._given[1] >= QUIET * (SLOW_CHILDREN if seen.starting else 1):
            return (
                f"its pool has free slots, and {counted(seen.unstarted, 'task does', 'tasks do')} not start",
                self._given[1],
            )
        if self._waited and seen.cut_off:
            return "its connection to the broker is dead, and another one is answered", self._quiet_since
        if self._waited:
            named = ", ".join(f"{count} in {queue}" for queue, count in sorted(self._waiting.items()))
            return f"messages wait ({named}), and none comes", self._quiet_since
        return "", now
