"""The table of all keys of ``trapd.toml``: kind of value, default, and first words of the explanation.

``etc/trapd.toml`` explains the keys to users; a test compares the two. Durations are seconds once read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapd import durations, layout
from trapd.environment import BACKENDS_OWN
from trapd.event import EventKind
from trapd.nearest import nearest
from trapd.spec import Amount, Metrics, Notify, OnFailure, OnMissingTasks, Policy, PoolSpec, Promotion


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. ``read`` gets TOML's value and the file's folder; ValueError if the value does not fit."""

    expected: str  # completes "write ..."
    read: Callable[[Any, Path], Any]


def meant(value: Any, known: Sequence[str]) -> str:
    """A question that names what was perhaps meant instead of this; empty if nothing known is like it."""
    near = nearest(value, known) if isinstance(value, str) else ""
    return f'did you mean "{near}"?' if near else ""


def _require(fits: bool, detail: str = "") -> None:
    if not fits:
        raise ValueError(detail)


def _text(value: Any, _folder: Path) -> str:
    _require(isinstance(value, str) and value != "" and "\0" not in value)
    return str(value)


def _path(value: Any, folder: Path) -> Path:
    text = _text(value, folder)
    _require(re.search(r"[\x00-\x1f\x7f]", text) is None, "it has a control character")  # units name the path in a line
    return folder / text


def _matching(pattern: str) -> Callable[[Any, Path], str]:
    def read(value: Any, folder: Path) -> str:
        _require(re.fullmatch(pattern, _text(value, folder)) is not None)
        return str(value)

    return read


def _texts(pattern: str, least: int = 0) -> Callable[[Any, Path], tuple[str, ...]]:
    def read(value: Any, folder: Path) -> tuple[str, ...]:
        _require(isinstance(value, list))
        _require(len(value) >= least, "it is empty")
        for number, item in enumerate(value, 1):
            _require(isinstance(item, str) and re.fullmatch(pattern, item) is not None, f"its item {number} is no name")
        _require(len(set(value)) == len(value), "a name is there twice")
        return tuple(value)

    return read


def _whole(least: int, most: int | None = None) -> Callable[[Any, Path], int]:
    def read(value: Any, _folder: Path) -> int:
        _require(type(value) is int and value >= least)  # not isinstance: true is an int to Python
        _require(most is None or value <= most, f"at most {most}")
        return int(value)

    return read


def _duration(least: float = 0.001, none: bool = False, auto: bool = False) -> Kind:
    word = "none" if none else "auto"

    def read(value: Any, folder: Path) -> float | None:
        if (none or auto) and value == word:
            return None
        seconds = durations.seconds(_text(value, folder))
        _require(seconds >= least, f"at least {least:g} s is needed")
        return seconds

    return Kind(f"a duration such as {durations.EXAMPLES}" + (f' or "{word}"' if none or auto else ""), read)


def _amount(value: Any, folder: Path) -> Amount:
    if isinstance(value, str):
        _require(re.fullmatch(r"[0-9]+%", value) is not None)
        return Amount(int(value[:-1]), percent=True)
    return Amount(_whole(0)(value, folder))


def _amount_or_auto(value: Any, folder: Path) -> Amount | None:
    return None if value == "auto" else _amount(value, folder)


def _choice(*names: str) -> Kind:
    def read(value: Any, _folder: Path) -> str:
        if value in names:
            return names[names.index(value)]  # the member itself, if the names are an enumeration
        raise ValueError(meant(value, names))

    return Kind("one of " + ", ".join(f'"{name}"' for name in names), read)


def _command(value: Any, _folder: Path) -> tuple[str, ...]:
    _require(isinstance(value, list) and all(isinstance(part, str) and "\0" not in part for part in value))
    _require(not value or Path(value[0]).is_absolute(), "the program needs an absolute path")
    return tuple(value)


def _kinds(value: Any, _folder: Path) -> tuple[str, ...]:
    _require(isinstance(value, list))
    for item in value:
        if item not in list(EventKind):
            question = meant(item, list(EventKind))
            raise ValueError(f"no kind {item!r}" + (f"; {question}" if question else ""))
    return tuple(value)


def _size(value: Any, folder: Path) -> int:
    found = re.fullmatch(r"([1-9][0-9]*)([KMG])", _text(value, folder))
    _require(found is not None)
    assert found is not None
    return int(found[1]) << {"K": 10, "M": 20, "G": 30}[found[2]]


def _flag(value: Any, _folder: Path) -> bool:
    _require(isinstance(value, bool))
    return bool(value)


def _flag_or_auto(value: Any, folder: Path) -> str:
    return "auto" if value == "auto" else str(_flag(value, folder)).lower()


def _environment(value: Any, _folder: Path) -> dict[str, str]:
    _require(isinstance(value, dict))
    for name, text in value.items():  # messages never show a value: it may be a password
        _require(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None, f"{name!r} is not a variable's name")
        _require(isinstance(text, str) and "\0" not in text, f"{name} is not a string")
        _require(name not in BACKENDS_OWN, f"{name} is set by trapd itself")
    return dict(value)


_PATH = Kind("a path as a string, absolute or relative to the folder of this file", _path)
_PATH_TEXT = Kind(_PATH.expected, lambda value, folder: str(_path(value, folder)))  # where the model holds a text
_NAME = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_APPLICATION = Kind('what `celery -A` takes, such as "proj" or "proj.celery:app"', _matching(rf"{_NAME}(:{_NAME})?"))
_REFERENCE = Kind('a "module:attribute" to import', _matching(f"{_NAME}:{_NAME}"))
_AMOUNT = Kind('a number of workers, 0 or more, or a percentage such as "25%"', _amount)
_AMOUNT_OR_AUTO = Kind('a number of workers, 0 or more, a percentage such as "25%", or "auto"', _amount_or_auto)
_MOST_WORKERS = 9999  # the most that `trapctl scale` accepts; a larger number is taken for a typo
_COUNT = Kind("a whole number, 0 or more", _whole(0, _MOST_WORKERS))
_COUNT_FROM_1 = Kind("a whole number, 1 or more", _whole(1))
_DISTRIBUTIONS = Kind(
    'a list of one or more distributions as pip names them, such as ["trap"]',
    _texts(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", 1),
)


@dataclass(frozen=True, slots=True)
class Key:
    kind: Kind
    default: Any
    doc: str


_POLICY, _POOL, _NOTIFY, _METRICS = Policy(), PoolSpec("default"), Notify(), Metrics()
KEYS: Mapping[str, Mapping[str, Key]] = {
    "trapd": {
        "backend": Key(_choice("auto", "systemd", "embedded"), "auto", "The program that runs the workers"),
        "state_directory": Key(_PATH, layout.STATE_DIRECTORY, "The folder of history, generations and logs"),
        "runtime_directory": Key(_PATH, layout.RUNTIME_DIRECTORY, "The folder of sockets and of the workers' reports"),
        "worker_logs": Key(
            _choice("auto", "files", "stdout"), "auto", "Where the workers' output goes if trapd itself runs"
        ),
        "watchdog": Key(
            _duration(least=1), 60.0, "How long a worker's main loop may stand still before it is replaced"
        ),
    },
    "app": {
        "app": Key(_APPLICATION, "trapd.distribute.app:app", "The Celery application"),
        "celeryconfig": Key(_PATH_TEXT, str(layout.CELERYCONFIG), "A file with Celery settings of all workers"),
        "python": Key(_PATH_TEXT, sys.executable, "The interpreter of the application"),
        "smoke_test": Key(
            _REFERENCE, None, "A function without arguments, called before a worker reports that it is ready"
        ),
        "numba_cache": Key(
            Kind('true, false or "auto"', _flag_or_auto), "auto", "Whether workers keep what numba has compiled"
        ),
    },
    "watch": {
        "distributions": Key(
            _DISTRIBUTIONS, ("trap", "radio-pyse"), "The installed distributions whose change recycles the workers"
        ),
        "snapshot": Key(
            _choice("auto", "environment", "distributions"),
            "auto",
            "What a generation holds a copy of: the application's whole virtual environment, or the distributions",
        ),
        "quiet_period": Key(_duration(), 2.0, "No change for this long means that an upgrade is finished"),
        "ceiling": Key(_duration(), 120.0, "An upgrade that is not finished after this long is broken"),
        "look": Key(_duration(1.0, auto=True), None, "How often to look for changes that no event reported"),
    },
    "rollout": {
        "max_surge": Key(_AMOUNT, _POLICY.max_surge, "How many workers more than wanted while recycling"),
        "max_unavailable": Key(_AMOUNT, _POLICY.max_unavailable, "How many workers fewer than wanted while recycling"),
        "max_draining": Key(
            _AMOUNT_OR_AUTO,
            _POLICY.max_draining,
            "How many more workers than those there may be while old workers leave",
        ),
        "min_ready": Key(_duration(least=0), _POLICY.min_ready, "The first new worker must stay ready for this long"),
        "progress_deadline": Key(
            _duration(), _POLICY.progress_deadline, "A rollout without progress for this long has failed"
        ),
        "drain_timeout": Key(
            _duration(none=True),
            _POLICY.drain_timeout,
            "How long an old worker may take to finish its task. Then Celery's soft time limit is raised in tasks that"
            " run in child processes, and 10 s later the worker is killed",
        ),
        "on_failure": Key(
            _choice(*OnFailure),
            _POLICY.on_failure,
            'If a new worker other than the first one fails: go back to the last good generation ("revert"), or wait'
            ' for the operator ("hold")',
        ),
        "judge": Key(
            Kind("true or false", _flag),
            _POLICY.judge,
            "New code whose tasks fail more often than those of the old code beside it is rejected",
        ),
        "canary_time": Key(
            _duration(least=0),
            _POLICY.canary_time,
            "For how long the tasks of the first new worker are judged before the others follow",
        ),
        "canary_tasks": Key(
            Kind("a whole number from 10 to 10000", _whole(10, 10_000)),
            _POLICY.canary_tasks,
            "How many tasks are enough to judge new code",
        ),
        "probation": Key(
            _duration(least=0),
            _POLICY.probation,
            "For how long after its rollout new code is undone if its tasks or workers fail",
        ),
        "promote": Key(
            _choice(*Promotion),
            _POLICY.promote,
            'When the first new worker has proved the new code: the others follow ("auto"), or wait for'
            ' `trapctl rollout promote` ("manual")',
        ),
        "on_missing_tasks": Key(
            _choice(*OnMissingTasks),
            _POLICY.on_missing_tasks,
            'If the new code drops tasks or alters their signatures: say so, and go on ("warn"), or wait until none of'
            ' their messages is in the queues, or for `trapctl rollout promote` ("hold")',
        ),
        "longest_pin": Key(_duration(), _POLICY.longest_pin, "How long a run may hold the code of a pool"),
    },
    "metrics": {
        "textfile": Key(_PATH_TEXT, _METRICS.textfile, "A file for node_exporter"),
        "every": Key(
            _duration(least=1), _METRICS.every, "How long trapd waits at least before it writes the file anew"
        ),
    },
    "notify": {
        "command": Key(
            Kind("a list of texts: a program's path, and its arguments", _command),
            _NOTIFY.command,
            "A program that is run for each event, in trapd's sandbox, without a network",
        ),
        "unit": Key(
            Kind("the NAME of trapd-notify-NAME@.service, of a-z, 0-9, _ and -", _matching(r"[a-z][a-z0-9_-]{0,99}")),
            _NOTIFY.unit,
            "A unit of systemd that is started for each event",
        ),
        "on": Key(
            Kind("a list of kinds of events, as `trapctl events` shows them", _kinds),
            _NOTIFY.on,
            "Which events",
        ),
        "problem_after": Key(
            _duration(least=1), _NOTIFY.problem_after, "A problem of `trapctl status` that lasts for longer is an event"
        ),
        "timeout": Key(_duration(least=0.1), _NOTIFY.timeout, "How long the program, or the unit, may take"),
    },
    "pools.NAME": {
        "run": Key(_choice("worker", "beat"), _POOL.run, "Celery's program that the pool runs"),
        "workers": Key(_COUNT, _POOL.workers, "How many workers the pool has"),
        "concurrency": Key(_COUNT_FROM_1, _POOL.concurrency, "How many tasks each worker runs at a time"),
        "queues": Key(
            Kind("a list of queues' names", _texts(r"[^,\s\0]+")), _POOL.queues, "The queues that the workers consume"
        ),
        "celery_pool": Key(
            _choice("prefork", "threads", "solo", "eventlet", "gevent", "processes"),
            _POOL.celery_pool,
            "Celery's own kind of pool",
        ),
        "max_tasks_per_child": Key(_COUNT_FROM_1, _POOL.max_tasks_per_child, "A child process is replaced after this"),
        "max_memory_per_child": Key(
            Kind("a whole number of KiB, 1 or more", _whole(1)),
            _POOL.max_memory_per_child,
            "A child process that has more memory than this, in KiB, is replaced after its task",
        ),
        "max_memory": Key(
            Kind('a size such as "512M" or "2G"', _size),
            _POOL.max_memory,
            "A worker whose main process has more memory than this is replaced",
        ),
        "poison_after": Key(
            Kind("a whole number, 0 or more", _whole(0)),
            _POOL.poison_after,
            "A task that has killed its process or its worker so many times is set aside",
        ),
        "max_age": Key(
            _duration(least=60.0, none=True),
            _POOL.max_age,
            "A worker that has been ready for about this long is replaced",
        ),
        "prefetch_multiplier": Key(
            Kind("a whole number, 0 or more", _whole(0)),
            _POOL.prefetch_multiplier,
            "How many messages a worker reserves for each task that it can run at a time",
        ),
        "time_limit": Key(_duration(), _POOL.time_limit, "A task that takes longer is killed"),
        "soft_time_limit": Key(_duration(), _POOL.soft_time_limit, "A task that takes longer gets an exception"),
        "exclude_queues": Key(
            Kind("a list of queues' names", _texts(r"[^,\s\0]+")),
            _POOL.exclude_queues,
            "Queues that the workers do not consume",
        ),
        "optimization": Key(_choice("default", "fair"), _POOL.optimization, "How a worker's children get their tasks"),
        "statedb": Key(
            Kind("a file's name as a string", _text),
            _POOL.statedb,
            "A file in which Celery keeps the revoked tasks of a worker",
        ),
        "loglevel": Key(
            _choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"),
            _POOL.loglevel,
            "The least severe level that is logged",
        ),
        "environment_file": Key(_PATH_TEXT, _POOL.environment_file, "A file of environment variables"),
        "environment": Key(Kind("a table of strings", _environment), _POOL.environment, "More environment variables"),
        "singleton": Key(
            Kind("true or false", _flag),
            _POOL.singleton,
            "Never run two workers of the pool at once, not even while recycling",
        ),
    },
}
