"""What is not as desired, as data: one problem, the closed set of its kinds, and since when it is there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self


class ProblemKind(StrEnum):
    """Which kinds of problem there are. Kinds are added; none is taken away or given another meaning.

    ``meaning``: one line; ``dated``: the problem's own text says for how long it has been there.
    """

    meaning: str
    dated: bool

    # The defaults are for mypy, which takes ProblemKind("held"), a look-up, for this call.
    def __new__(cls, value: str, meaning: str = "", dated: bool = False) -> Self:
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.meaning, kind.dated = meaning, dated
        return kind

    TRAPD = "trapd", "trapd starts or stops, and keeps no pool at the moment"
    TROUBLE = "trouble", "something keeps trapd itself from its work"
    BROKEN = "broken", "what is installed is broken, and is not rolled out"
    TOO_FEW = "too-few-ready", "fewer workers are ready than are wanted"
    WITHHELD = "withheld", "what is installed does not run: it was refused, undone or given up", True
    REJECTED = "rejected", "the latest rollout was rejected or given up"
    HELD = "held", "a rollout waits for a person", True
    PAUSED = "paused", "the pool is paused, and no rollout is under way"
    CUT_OFF = "cut-off", "workers cannot reach their broker or result backend", True
    FAILED = "failed", "a worker failed, and does not run"
    RESTARTING = "restarting", "a worker that failed starts again"
    MIXED = "mixed-code", "workers loaded modules from outside their generation, or old and new ones"
    UNKNOWN = "unknown-code", "workers did not report which code was loaded"
    STALE = "stale-code", "workers run another generation than the wanted one, and no rollout is on"
    STALLED = "stalled", "the main loop of a worker does not turn", True
    IDLE = "not-consuming", "a worker takes no tasks, though its broker has some"
    SILENT = "silent", "a worker gives no sign of life", True
    HANGING = "hanging", "a worker does not exit: it has no task left, or a debugger holds its processes", True
    OVERDUE = "overdue-drain", "a worker drains for longer than progress_deadline", True
    TAKEN_BACK = "taken-back", "RabbitMQ took back what a worker held for longer than consumer_timeout", True
    LEAVING = "leaving", "a worker leaves by itself when its tasks have ended"
    REMOTE = "remote-control", "a worker was changed by Celery's remote control", True
    SET_ASIDE = "set-aside", "messages of a task that no worker knows wait in a parking queue, or were discarded", True
    POISONED = "poisoned", "a task that kills its process or its worker again and again is set aside", True
    SHORT = "short-of-memory", "a pool waits for memory", True


@dataclass(frozen=True, slots=True)
class Problem:
    """``text``: a sentence for people. ``about`` tells problems of one kind in one pool apart: a worker's name where
    there is one. ``since``: seconds since the epoch; 0 if the facts do not say it."""

    kind: ProblemKind
    text: str
    pool: str | None = None  # None: it is trapd's own, or the disk's
    worker: str | None = None
    about: str = ""
    since: float = 0.0

    @property
    def key(self) -> str:
        """The same for one problem from its beginning to its end, while its text may change."""
        return "\t".join((self.kind, self.pool or "", self.worker or self.about))


@dataclass
class Ages:
    """Since when each problem is there. ``known``: key -> seconds since the epoch."""

    known: dict[str, float] = field(default_factory=dict)
    _until: float = 0.0  # before that moment none that is not seen is over

    def given(self, problems: Iterable[Problem], wall: float) -> tuple[Problem, ...]:
        """Return these problems, which are all that there are at ``wall``, with ``since``; the others are over."""
        dated = self.dated(problems, wall)
        self.known = (self.known if wall < self._until else {}) | {problem.key: problem.since for problem in dated}
        return dated

    def dated(self, problems: Iterable[Problem], wall: float) -> tuple[Problem, ...]:
        """Return these problems, which are some of those that there are at ``wall``, with ``since``."""
        return tuple(replace(p, since=p.since or min(self.known.get(p.key, wall), wall)) for p in problems)

    def keep(self, known: Mapping[str, float], until: float) -> None:
        """Begin with what an earlier trapd knew. Before ``until`` not all is seen yet, and nothing is over."""
        self.known, self._until = dict(known), until
