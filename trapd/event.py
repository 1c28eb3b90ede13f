"""What happened, as data: one event, and the closed set of its kinds. docs/events.md is made from the set."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

OWN_ACTORS = frozenset({"trapd", "worker", "outside"})  # actors that the reason names, if they matter


class About(StrEnum):
    """What an event of a kind is about: which of its members are set beside ``pool``."""

    TRAPD = "trapd"  # and no pool
    POOL = "pool"
    ROLLOUT = "rollout"
    PROBLEM = "problem"  # and maybe no pool
    WORKER = "worker"  # ``instance`` and its ``generation``


class EventKind(StrEnum):
    """Which kinds of event there are. Kinds are added; none is taken away or given another meaning.

    ``meaning``: one line; ``lasted``: what the event's duration measures, "" if it has none.
    """

    about: About
    meaning: str
    lasted: str

    # The defaults are for mypy, which takes EventKind("ready"), a look-up, for this call.
    def __new__(cls, value: str, about: About = About.POOL, meaning: str = "", lasted: str = "") -> Self:
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.about, kind.meaning, kind.lasted = about, meaning, lasted
        return kind

    TRAPD_STARTED = "trapd-started", About.TRAPD, "trapd runs and keeps the pools"
    TRAPD_STOPPED = "trapd-stopped", About.TRAPD, "trapd ends, because it was asked to", "since trapd started"

    TRAPD_LOST = (
        "trapd-lost",
        About.TRAPD,
        "the trapd before ended without a stop: killed or crashed",
        "in which nothing was recorded",
    )
    REBOOTED = "rebooted", About.TRAPD, "the machine was started", "in which nothing was recorded"

    NOTIFY_TEST = "notify-test", About.TRAPD, "somebody tests the notifications of [notify]"

    NO_EFFECT = (
        "no-effect",
        About.TRAPD,
        "something was installed or removed that is not required, and that no worker has loaded",
    )
    TROUBLE = "trouble", About.TRAPD, "something keeps trapd itself from its work"
    RELIEF = "relief", About.TRAPD, "a trouble of trapd is over", "since it was noticed"

    PROBLEM = (
        "problem",
        About.PROBLEM,
        "a problem of `trapctl status` has lasted for `[notify] problem_after`, ten minutes",
        "since it began",
    )
    PROBLEM_OVER = "problem-over", About.PROBLEM, "a problem that had lasted is over", "since it began"

    WANTED = "wanted", About.ROLLOUT, "a generation is wanted: a rollout begins"
    TENTATIVE = (
        "tentative",
        About.ROLLOUT,
        "phase: one worker starts; no other is told to go before the disk has settled",
    )
    PENDING = "pending", About.ROLLOUT, "phase: nothing is started yet"
    PREFLIGHT = "preflight", About.ROLLOUT, "phase: the canary imports the code and connects"
    CANARY = "canary", About.ROLLOUT, "phase: the canary is ready and has to stay so"
    WAITING = (
        "waiting",
        About.ROLLOUT,
        "phase: a person has to promote it, or, before tasks that it lacks, queues to be empty",
    )
    RETRIAL = "retrial", About.ROLLOUT, "phase: the canary failed; a worker of the last good generation is tried"
    ROLLING = "rolling", About.ROLLOUT, "phase: the generation is good, the other workers follow"
    PROMOTED = (
        "promoted",
        About.ROLLOUT,
        "the canary proved the generation: it is good",
        "since it was wanted",
    )
    DOUBTED = (
        "doubted",
        About.ROLLOUT,
        "workers of a good generation hang or crash again and again: it has to prove itself anew",
    )
    SUSPECTED = (
        "suspected",
        About.ROLLOUT,
        "tasks of one name fail more often than before: they are compared with those of old workers",
    )
    VERIFIED = (
        "verified",
        About.ROLLOUT,
        "the comparison speaks against the generation: the old code takes these tasks alone",
    )
    CLEARED = "cleared", About.ROLLOUT, "the comparison of tasks has proved nothing against the generation"
    FINISHED = "finished", About.ROLLOUT, "every wanted worker runs the generation", "since it was wanted"
    REJECTED = (
        "rejected",
        About.ROLLOUT,
        "its own code failed: the last good generation serves",
        "since it was wanted",
    )
    GIVEN_UP = (
        "given-up",
        About.ROLLOUT,
        "no progress after a good canary, its tasks failed, or its workers did again and again",
        "since it was wanted",
    )
    SUPERSEDED = "superseded", About.ROLLOUT, "another generation is wanted instead", "since it was wanted"

    TASKS_CHANGED = (
        "tasks-changed",
        About.ROLLOUT,
        "the new code lacks tasks of the code before, or has them with another signature",
    )

    PAUSED = "paused", About.POOL, "the pool is held until it is resumed"
    RESUMED = "resumed", About.POOL, "the pool goes on"
    SCALED = "scaled", About.POOL, "another number of workers is wanted"
    OPENED = (
        "opened",
        About.POOL,
        "a rollout that waited goes on: promoted, or no message of the tasks that it lacks is left",
    )
    PINNED = "pinned", About.POOL, "a run holds the code of the pool"
    UNPINNED = "unpinned", About.POOL, "a run holds the code of the pool no more", "since the run held it"
    RETRIED = "retried", About.POOL, "code that was refused may be tried again"

    RELIEVED = "relieved", About.POOL, "workers that run and take no tasks are replaced, new before old"

    SET_ASIDE = "set-aside", About.POOL, "messages of a task that no worker knows are set aside in a parking queue"
    DRAINED = "drained", About.POOL, "a person drained one worker: no other takes its place until it is undrained"
    UNDRAINED = "undrained", About.POOL, "a worker may take the place of the one that a person had drained"
    RECYCLED = "recycled", About.POOL, "a person had one worker replaced by one with the same code, new before old"

    POISONED = "poisoned", About.POOL, "a task that kills its process or its worker again and again is set aside"
    RELEASED = "released", About.POOL, "a person had a poisoned task tried again, or dropped"
    TASK_ENDED = "task-ended", About.POOL, "somebody ended one task of a worker"

    STARTED = "started", About.WORKER, "a worker is started"
    READY = "ready", About.WORKER, "the worker sent READY", "since it was started"
    DRAINING = "draining", About.WORKER, "the worker was asked to finish its tasks and exit", "since it was ready"
    INTERRUPTED = (
        "interrupted",
        About.WORKER,
        "drain_timeout is over: the soft time limit is raised in tasks of child processes",
        "since it was asked to exit",
    )
    KILLED = (
        "killed",
        About.WORKER,
        "the worker is killed with all its processes",
        "since it was asked to exit",
    )
    REMOTE = (
        "remote-control",
        About.WORKER,
        "somebody changed or ended the worker, or took tasks from it, by remote control",
    )
    CHILD_LOST = "child-lost", About.WORKER, "a process of the worker's Celery pool was killed while it ran a task"
    CHILD_OOM_KILLED = (
        "child-oom-killed",
        About.WORKER,
        "the kernel killed a process of the worker's Celery pool: out of memory",
    )
    GONE = "gone", About.WORKER, "the worker exited after its drain", "since it was asked to exit"
    LOST = "lost", About.WORKER, "the machine went down with the worker"
    FAILED = "failed", About.WORKER, "its code raised, or READY did not come in time", "since it was started"
    CRASHED = "crashed", About.WORKER, "the worker ended without being asked to", "since it was ready"
    OOM_KILLED = "oom-killed", About.WORKER, "the kernel killed the worker: out of memory", "since it was ready"
    HUNG = "hung", About.WORKER, "the worker's main loop stood still: its watchdog ended it", "since it was ready"
    FORGOT = "forgot", About.WORKER, "a failed worker is not started again"
    ERROR = "error", About.WORKER, "the worker could not be started, drained, killed or forgotten"

    @property
    def over(self) -> bool:
        """The worker is not there any more, neither running nor failed."""
        return self in _OVER

    @property
    def reported(self) -> bool:
        """The worker itself reports it, and goes on: it says nothing of how the worker is."""
        return self in _REPORTED

    @property
    def failure(self) -> bool:
        """The worker's run failed; another run of the same worker may follow."""
        return self in _FAILURES


_FAILURES = frozenset({EventKind.FAILED, EventKind.CRASHED, EventKind.OOM_KILLED, EventKind.HUNG})
_REPORTED = frozenset({EventKind.REMOTE, EventKind.CHILD_LOST, EventKind.CHILD_OOM_KILLED})
_OVER = frozenset({EventKind.GONE, EventKind.LOST, EventKind.FORGOT})


class Became(StrEnum):
    """What became of a task that a worker had when it was asked to leave, or when it ended."""

    FINISHED = "finished"  # it ended there, well or not
    RETURNED = "handed back"  # the broker has its message again
    UNKNOWN = "unknown"  # the worker ended while it had the task


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """A task that a worker had, by id and name, and what became of it."""

    id: str
    name: str
    became: Became


@dataclass(frozen=True, slots=True)
class Event:
    """One line of history. Nothing happens without a ``reason``, and ``actor`` is who caused it."""

    wall: float  # when it happened: seconds since the epoch
    kind: EventKind
    reason: str
    actor: str = "trapd"
    pool: str | None = None
    rollout: int | None = None
    generation: int | None = None
    instance: str | None = None
    detail: str = ""
    duration: float | None = None  # seconds; the kind says from when
    tasks: tuple[TaskEnd, ...] = ()  # of a worker that ended: the receipt of its drain, or what it ran
    id: int = 0  # given when it is saved, and then only grows; 0: not saved
