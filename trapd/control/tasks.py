"""`tasks` and `tasks.end`: what the workers run, by their own accounts, and the end of one task."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from trapd.contracts import Asked
from trapd.control import documents, requests
from trapd.control.drains import described
from trapd.control.handlers import Call
from trapd.control.methods import Given
from trapd.control.needs import Context
from trapd.control.protocol import SCHEMA
from trapd.control.receipts import ended
from trapd.control.status import event
from trapd.errors import HistoryError, RefusedError, UsageError
from trapd.event import Event, EventKind
from trapd.model import Instance, InstanceId
from trapd.rollout import set_aside
from trapd.rollout.view import PoolView
from trapd.work import Like, TaskCounts, TaskRun, Work, likes

Working = Mapping[InstanceId, tuple[Instance, Work]]


async def tasks(call: Call[requests.OfTasks]) -> documents.Tasks:
    """Show the tasks that workers run, of a pool, of one worker, or of all; each worker is asked itself, also while it
    drains. Of a worker that does not answer within 2 s the tasks are those in its task table."""
    working = await _working(call, call.params["subject"])
    like: dict[str, Mapping[str, Like]] = {}
    for pool in {id.pool for id in working}:
        like[pool] = likes(work for id, (_, work) in working.items() if id.pool == pool)
    now = call.context.clock.wall()
    found = [_worker(instance, work, like[id.pool], now) for id, (instance, work) in working.items()]
    pools = {id.pool for id in working}
    views = [view for view in call.context.controller.pools() if view.spec.name in pools]
    aside = [one for view in views for one in described_aside(view)]
    ends = ended(call.context.controller.history, call.params["subject"])
    return {"schema": SCHEMA, "workers": found, "aside": aside, "ended": [event(one) for one in ends]}


def described_aside(view: PoolView) -> list[documents.SetAside]:
    return [
        {
            "pool": view.spec.name,
            "task": aside.task,
            "queue": aside.queue,
            "messages": aside.messages,
            "since": aside.wall,
            "id": aside.id,
            "kills": aside.kills,
        }
        for aside in set_aside.merged(view.instances)
    ]


async def of_all_workers(context: Context, views: Sequence[PoolView]) -> list[documents.WorkerTasks]:
    """Return the tasks of each worker that has a process, by its own account."""
    asked = [instance for view in views for instance in view.instances if instance.pid is not None]
    works = await context.accounts.works([Asked(i.id.name, i.pid) for i in asked if i.pid is not None])
    now = context.clock.wall()
    return [_worker(instance, work, {}, now) for instance, work in zip(asked, works, strict=True)]


async def end_task(call: Call[requests.OfEnd]) -> documents.TaskEnded:
    """End `task` in the worker that has it: a running task gets SoftTimeLimitExceeded, or is killed with `now`; a
    task that waits in a worker is revoked. No worker runs the task again."""
    id = call.params["task"]
    working = await _working(call, None)
    running = [instance for instance, work in working.values() if any(run.id == id for run in work.running)]
    reasons = []
    for instance in running or [instance for instance, work in working.values() if not work.unanswered]:
        assert instance.pid is not None
        try:
            done = await call.context.accounts.end(instance.id.name, instance.pid, id, now=call.params["now"])
        except RefusedError as error:
            reasons.append(f"{instance.id}: {error}")
        else:
            _record(call, instance.id, id, done)
            return {"schema": SCHEMA, "worker": instance.id.name, "id": id, "done": done}
    if running:
        raise RefusedError(f"cannot end task {id}: {'; '.join(reasons)}")
    remedy = f"trapctl celery control revoke {id} keeps all workers from a task that waits in a queue"
    raise RefusedError(f"cannot end task {id}: no worker that answers has it; {remedy}")


def _record(call: Call[Given], worker: InstanceId, id: str, done: str) -> None:
    reason = f"task {id} in {worker}: {done}"
    event = Event(call.context.clock.wall(), EventKind.TASK_ENDED, reason, call.actor, worker.pool)
    with contextlib.suppress(HistoryError):  # trapctl status has it
        call.context.controller.history.save(events=[event])
        call.context.controller.notify()


async def _working(call: Call[Given], subject: str | None) -> Working:
    """The workers with a process, each with its own account. Raises UsageError for a subject that is not there."""
    views = await call.context.controller.look()
    instances = [instance for view in views for instance in view.instances]
    if subject is not None:
        pools = [view.spec.name for view in views]
        instances = [i for i in instances if subject in (i.id.pool, i.id.name)]
        if not instances and subject not in pools and not ended(call.context.controller.history, subject):
            raise UsageError(f"cannot find {subject!r}: name a pool ({', '.join(pools)}) or a worker (POOL@G-S)")
    asked = [instance for instance in instances if instance.pid is not None]
    works = await call.context.accounts.works([Asked(i.id.name, i.pid) for i in asked if i.pid is not None])
    return {instance.id: (instance, work) for instance, work in zip(asked, works, strict=True)}


def _worker(instance: Instance, work: Work, like: Mapping[str, Like], now: float) -> documents.WorkerTasks:
    return {
        "worker": instance.id.name,
        "pool": instance.id.pool,
        "state": instance.state.value,
        "generation": instance.id.generation,
        "versions": dict(instance.report.versions) if instance.report else {},
        "phase": work.phase,
        "unanswered": work.unanswered,
        "running": [_running(run, like.get(run.name), now) for run in work.running],
        "reserved": None if work.unanswered else work.reserved,
        "queues": list(work.queues),
        "delivered": work.delivered,
        "counts": [_counts(name, work.counts[name]) for name in sorted(work.counts)],
    }


def _running(run: TaskRun, like: Like | None, now: float) -> documents.TaskRun:
    seconds = max(0.0, now - run.since)
    return {
        **described(run, now),
        "queue": run.queue,
        "longest": like.longest if like else None,
        "far": like is not None and like.exceeded_by(seconds),
    }


def _counts(name: str, counts: TaskCounts) -> documents.TaskCounts:
    return {
        "name": name,
        "received": counts.received,
        "started": counts.started,
        "succeeded": counts.succeeded,
        "failed": dict(counts.failed),
        "retried": counts.retried,
        "revoked": counts.revoked,
        "unbegun": counts.unbegun,
        "withdrawn": counts.withdrawn,
        "seconds": counts.seconds,
        "longest": counts.longest,
    }
