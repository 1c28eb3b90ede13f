"""The names of the commands, each with the types of its parameters and of its answer: what both ends agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from trapd.control import documents, requests  # the types cost trapctl nothing when it runs

Given = TypeVar("Given", bound=Mapping[str, object])
Answer = TypeVar("Answer", bound=Mapping[str, object])


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """A command with its parameters, and the type of its answer."""

    method: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Method(Generic[Given, Answer]):
    """A command by name. trapctl asks with it, and the daemon's table has the handler of the same types."""

    name: str

    def __call__(self, params: Given) -> Question[Answer]:
        return Question(self.name, params)


PING: Method[requests.Nothing, documents.Pong] = Method("ping")
STATUS: Method[requests.Nothing, documents.Status] = Method("status")
RECYCLE: Method[requests.OfRecycle, documents.Rollouts] = Method("recycle")
RECYCLE_WORKER: Method[requests.OfWorkerRecycle, documents.OrderedWorker] = Method("worker.recycle")
DRAIN: Method[requests.OfWorkerAndReason, documents.OrderedWorker] = Method("worker.drain")
UNDRAIN: Method[requests.OfWorker, documents.OrderedWorker] = Method("worker.undrain")
RETRY: Method[requests.OfPools, documents.Rollouts] = Method("retry")
ROLLOUT_STATUS: Method[requests.OfStatus, documents.RolloutStatus] = Method("rollout.status")
ROLLOUT_WAIT: Method[requests.OfWait, documents.Waited] = Method("rollout.wait")
PAUSE: Method[requests.OfPool, documents.Wanted] = Method("rollout.pause")
RESUME: Method[requests.OfPool, documents.Wanted] = Method("rollout.resume")
PROMOTE: Method[requests.OfPool, documents.Wanted] = Method("rollout.promote")
PIN: Method[requests.OfPin, documents.Unpinned] = Method("pin")
PIN_KEEP: Method[requests.OfKeep, documents.Kept] = Method("pin.keep")
UNDO: Method[requests.OfUndo, documents.Rollouts] = Method("rollout.undo")
HISTORY: Method[requests.OfHistory, documents.Rollouts] = Method("rollout.history")
GENERATIONS: Method[requests.Nothing, documents.Generations] = Method("generations")
GENERATIONS_DIFF: Method[requests.OfDiff, documents.Differences] = Method("generations.diff")
SCALE: Method[requests.OfScale, documents.Scaled] = Method("scale")
PLAN: Method[requests.OfPools, documents.Plan] = Method("plan")
TASKS: Method[requests.OfTasks, documents.Tasks] = Method("tasks")
END_TASK: Method[requests.OfEnd, documents.TaskEnded] = Method("tasks.end")
POISONED: Method[requests.Nothing, documents.Poisoned] = Method("tasks.poisoned")
RETRY_TASK: Method[requests.OfTask, documents.TaskEnded] = Method("tasks.retry")
DROP_TASK: Method[requests.OfTask, documents.TaskEnded] = Method("tasks.drop")
WHY: Method[requests.OfWhy, documents.Why] = Method("why")
METRICS: Method[requests.Nothing, documents.Metrics] = Method("metrics")
NOTIFY: Method[requests.Nothing, documents.NotifyTested] = Method("notify.test")
EVENTS: Method[requests.OfEvents, documents.Events] = Method("events")
FOLLOW: Method[requests.OfFollow, documents.Events] = Method("events.follow")
