"""What the configuration asks for, as frozen values: the application, the pools, and how each pool is rolled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

POOL_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of workers, or a percentage of the wanted number, as in Kubernetes' maxSurge."""

    value: int
    percent: bool = False

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


class OnFailure(StrEnum):
    REVERT = "revert"
    HOLD = "hold"


class Promotion(StrEnum):
    AUTO = "auto"
    MANUAL = "manual"


class OnMissingTasks(StrEnum):
    WARN = "warn"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Policy:
    """How one pool is rolled. Durations in seconds; ``drain_timeout`` None means: as long as the task takes."""

    max_surge: Amount = Amount(1)
    max_unavailable: Amount = Amount(0)
    max_draining: Amount | None = None  # None: as many as memory has room for, within limits (rollout/budget.py)
    min_ready: float = 5.0
    progress_deadline: float = 600.0
    drain_timeout: float | None = None
    on_failure: OnFailure = OnFailure.REVERT
    promote: Promotion = Promotion.AUTO
    judge: bool = True
    canary_time: float | None = None  # None: min_ready
    canary_tasks: int = 100
    probation: float = 600.0
    on_missing_tasks: OnMissingTasks = OnMissingTasks.WARN
    longest_pin: float = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What the configuration asks of one pool. None: it says nothing, and Celery's own settings decide."""

    name: str
    workers: int = 1
    concurrency: int | None = None  # where the Celery settings are silent as well: 1
    queues: tuple[str, ...] = ()  # empty: Celery's default queue
    celery_pool: str | None = None
    max_tasks_per_child: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    singleton: bool = False
    unit: Mapping[str, object] = field(default_factory=dict)  # settings of its systemd unit, by name
    policy: Policy = Policy()
    run: str = "worker"  # Celery's sub-command: "worker" or "beat"
    prefetch_multiplier: int | None = None
    time_limit: float | None = None  # seconds, as are all times
    soft_time_limit: float | None = None
    max_memory_per_child: int | None = None  # KiB
    loglevel: str | None = None  # None: INFO
    optimization: str | None = None
    exclude_queues: tuple[str, ...] = ()
    statedb: str | None = None
    max_memory: int | None = None  # bytes, of the main process; None: no limit
    poison_after: int | None = None  # kills; None: 3 (worker/poison.py)
    max_age: float | None = None
    environment_file: str | None = None  # read when a process starts; its content is nowhere else

    def launch(self) -> dict[str, object]:
        """The part of the settings that a running worker has fixed in it: a change here needs a new generation.

        What is None here the worker takes from Celery's settings: it alone has loaded them.
        """
        unit = {"unit": dict(sorted(self.unit.items()))} if self.unit else {}
        said = {name: getattr(self, name) for name in _OPTIONS if getattr(self, name) not in (None, ())}
        if self.run != "worker":  # what only workers have is not fixed in it; beat runs as in Celery's pool "solo"
            environment = dict(sorted(self.environment.items()))
            return {"run": self.run, "celery_pool": "solo", "environment": environment, **unit, **said}
        return {
            "concurrency": self.concurrency,
            "queues": list(self.queues),
            "celery_pool": self.celery_pool,
            "max_tasks_per_child": self.max_tasks_per_child,
            "environment": dict(sorted(self.environment.items())),
            **unit,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in said.items()},
        }


# In ``launch`` only where trapd.toml says something: generations of an earlier trapd have none of them.
_OPTIONS = (
    *("prefetch_multiplier", "time_limit", "soft_time_limit", "max_memory_per_child", "loglevel", "optimization"),
    *("exclude_queues", "statedb", "environment_file", "max_memory", "poison_after"),
)


@dataclass(frozen=True, slots=True)
class Application:
    """The Celery application that the workers run: one value, of which everything that starts or asks it is made.

    Paths are absolute. Two are equal if they start the same, whatever the environment: each pool has one of its own,
    which counts in its launch digest.
    """

    app: str  # what `celery -A` takes: "proj" or "proj.celery:app"
    celeryconfig: str  # a path
    python: str  # path of its interpreter
    smoke_test: str | None = None  # "module:function"
    # Where no pool is meant (the watch, `trapctl check`, `trapctl celery`): as a worker of the first pool has it.
    environment: Mapping[str, str] = field(default_factory=dict, compare=False)
    environment_file: str | None = field(default=None, compare=False)  # as in PoolSpec
    numba_cache: str = field(default="auto", compare=False)  # "auto", "true" or "false"; the pools' environment has it

    @property
    def identity(self) -> str:
        """What ``Generation.application`` and each launch digest say of it, in the same words for ever: other words
        would replace every worker when trapd is upgraded. (Interpreter and celeryconfig are in the fingerprint.)"""
        return f"{self.app} {self.smoke_test or ''}"


@dataclass(frozen=True, slots=True)
class Metrics:
    """``textfile``: for node_exporter; None: not written. ``every``: seconds between two writes at least."""

    textfile: str | None = None
    every: float = 15.0


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told of which events. ``on``: kinds of events; ``timeout``: seconds that the command, or the unit, has for
    one event; ``problem_after``: seconds after which a problem is an event."""

    command: tuple[str, ...] = ()
    unit: str = ""
    on: tuple[str, ...] = ("rejected", "given-up", "doubted", "waiting", "problem")
    problem_after: float = 600.0
    timeout: float = 30.0

    @property
    def wanted(self) -> bool:
        return bool(self.command or self.unit)

    def names(self) -> list[str]:
        """Return who is told, for people."""
        unit = [f"trapd-notify-{self.unit}@.service"] if self.unit else []
        return [*self.command[:1], *unit]

    def unit_of(self, number: int) -> str:
        """Return the unit that tells of the event with this id. 50-trapd.rules allows exactly this pattern."""
        return f"trapd-notify-{self.unit}@{number}.service"
