"""The tasks that draining workers wait for, for `status` and `why`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence

from trapd.control import documents
from trapd.control.needs import Context
from trapd.durations import age
from trapd.model import InstanceId, InstanceState
from trapd.problem import Problem, ProblemKind
from trapd.rollout.view import PoolView
from trapd.work import TaskRun

Waits = Mapping[InstanceId, Sequence[TaskRun]]


async def waits(context: Context, views: Iterable[PoolView]) -> Waits:
    """Return the tasks that each draining worker waits for: by its task table, so without a question."""
    draining = [
        (instance.id, instance.pid)
        for view in views
        for instance in view.instances
        if instance.state is InstanceState.DRAINING and instance.pid is not None
    ]
    read = context.accounts.written
    return await asyncio.to_thread(lambda: {id: read(id.name, pid) for id, pid in draining}) if draining else {}


def described(run: TaskRun, now: float) -> documents.RunningTask:
    """Return a task that a drain waits for as a document."""
    return {"id": run.id, "name": run.name, "since": run.since, "seconds": round(max(0.0, now - run.since), 3)}


def overdue(context: Context, view: PoolView, waits: Waits) -> Iterator[Problem]:
    """Yield a problem for each drain that has taken longer than the pool's progress_deadline, with the task that it
    waits for."""
    deadline, now = view.spec.policy.progress_deadline, context.clock.now()
    for instance in view.instances:
        if instance.state is InstanceState.DRAINING and now - instance.since > deadline:
            why = sentence(waits.get(instance.id, ()), context.clock.wall())
            text = f"{instance.id} drains for {age(now - instance.since)}" + (f": it {why}" if why else "")
            since = context.moment(instance.since)
            yield Problem(ProblemKind.OVERDUE, text, view.spec.name, instance.id.name, since=since)


def sentence(runs: Sequence[TaskRun], now: float) -> str:
    """Return the task that a drain has waited for longest, and how many more there are; empty if there is none."""
    if not runs:
        return ""
    oldest = min(runs, key=lambda run: run.since)
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return f"waits for task {oldest.name}[{oldest.id}], which has run for {age(now - oldest.since)}{more}"
