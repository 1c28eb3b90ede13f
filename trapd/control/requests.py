"""What each command takes, as types that both ends import: trapctl asks with them, parameters.py checks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict

from trapd.control.protocol import MOST_LINES


@dataclass(frozen=True, slots=True)
class Default:
    """What stands for a parameter that a request leaves out."""

    value: object


@dataclass(frozen=True, slots=True)
class Most:
    """The largest number that is accepted."""

    value: int


_Pool = Annotated[str, "a pool's name"]
_Pools = Annotated[list[str], Default([]), "pools by name; all if empty"]
_OnePool = Annotated[str | None, Default(None), "only this pool"]
_Limit = Annotated[int, Default(20), Most(MOST_LINES), "at most so many, the latest"]


class Nothing(TypedDict):
    """No parameters."""


class OfPool(TypedDict):
    pool: _Pool


class OfPools(TypedDict):
    pools: _Pools


class OfRecycle(TypedDict):
    pools: _Pools
    reason: Annotated[str, Default(""), "one line for the history: why"]


class OfWorker(TypedDict):
    worker: Annotated[str, "a worker such as default@7-1"]


class OfWorkerAndReason(OfWorker):
    reason: Annotated[str, Default(""), "one line for the history: why"]


class OfWorkerRecycle(OfWorkerAndReason):
    wait: Annotated[bool, Default(False), "answer only when this run of the worker is gone"]
    timeout: Annotated[float | None, Default(None), "seconds after which the wait is given up; null waits for ever"]


class OfWait(TypedDict):
    id: Annotated[int, "the rollout's number"]
    timeout: Annotated[float | None, Default(None), "seconds after which the wait is given up; null waits for ever"]


class OfStatus(TypedDict):
    pools: _Pools
    wait: Annotated[bool, Default(False), "answer only when each pool serves what is installed, or has refused it"]
    timeout: Annotated[float | None, Default(None), "seconds after which the wait is given up; null waits for ever"]


class OfUndo(TypedDict):
    pool: _Pool
    to: Annotated[int | None, Default(None), "the generation to go back to; null: the good one before"]
    settings: Annotated[bool, Default(False), "take the celeryconfig back as well"]


class OfHistory(TypedDict):
    pool: _OnePool
    limit: _Limit


class OfEvents(TypedDict):
    pool: _OnePool
    rollout: Annotated[int | None, Default(None), "only this rollout"]
    since: Annotated[int | None, Default(None), "the first events after the event with this id, not the latest"]
    limit: _Limit


class OfFollow(TypedDict):
    pool: _OnePool
    since: Annotated[int, "the id of an event; those after it are sent"]


class OfDiff(TypedDict):
    before: Annotated[int, "a generation"]
    after: Annotated[int, "another generation"]


class OfScale(TypedDict):
    pool: _Pool
    workers: Annotated[str, "N, +N, -N or reset"]


class OfPin(TypedDict):
    pools: Annotated[
        list[str] | None, Default(None), "names of pools, all of which are held or none; null: the only one"
    ]
    reason: Annotated[str, Default(""), "what runs, in one line"]
    pins: Annotated[
        list[str] | None,
        Default(None),
        "take up these pins again, one of each of `pools`, after trapd was started anew; null: new ones",
    ]


class OfKeep(TypedDict):
    pin: Annotated[str, "the pin's id"]


class OfTasks(TypedDict):
    subject: Annotated[str | None, Default(None), "only this pool, or this worker such as default@7-1"]


class OfTask(TypedDict):
    task: Annotated[str, "the task's id"]


class OfEnd(TypedDict):
    task: Annotated[str, "the task's id"]
    now: Annotated[bool, Default(False), "kill it"]


class OfWhy(TypedDict):
    subject: Annotated[str, "a pool, a rollout's number, a worker such as default@7-1, or `generation 3`"]
