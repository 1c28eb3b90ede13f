"""What the workers of a pool report of messages that are set aside, taken together: no worker knows their task, or
their task has killed its process too often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from trapd.event import Event, EventKind
from trapd.model import Instance, InstanceState, SetAside
from trapd.rollout.view import PoolView
from trapd.sizes import counted


def merged(instances: Iterable[Instance]) -> tuple[SetAside, ...]:
    """One value for each task and queue, by name. Workers of one pool look into the same parking queues at different
    moments, so the largest of their numbers counts; what each of them discarded was another message."""
    found: dict[tuple[str, str, str], SetAside] = {}
    for instance in instances:
        report = instance.report if instance.state is InstanceState.READY else None
        for aside in report.aside if report is not None else ():
            before = found.get((aside.task, aside.queue, aside.id), replace(aside, messages=0))
            both = before.messages, aside.messages
            messages = max(both) if aside.queue else sum(both)
            found[aside.task, aside.queue, aside.id] = replace(
                aside, messages=messages, wall=min(before.wall, aside.wall)
            )
    return tuple(found[key] for key in sorted(found))


def sentence(aside: SetAside) -> str:
    """How many messages, and where they are."""
    if aside.id:
        times = "once" if aside.kills == 1 else counted(aside.kills, "time")
        return f"task {aside.task}[{aside.id}] in {aside.queue}: it has killed its process or its worker {times}"
    messages = counted(aside.messages, "message")
    if not aside.queue:
        return f"{messages} of task {aside.task} discarded: no worker knows the task, and there is no parking queue"
    return f"{messages} of task {aside.task} in {aside.queue}: no worker knows the task"


def news(before: PoolView, after: PoolView) -> Iterator[Event]:
    """An event for each task that no worker had reported in the pass before."""
    known = {(aside.task, aside.queue, aside.id) for aside in merged(before.instances)}
    for aside in merged(after.instances):
        if (aside.task, aside.queue, aside.id) not in known:
            kind = EventKind.POISONED if aside.id else EventKind.SET_ASIDE
            yield Event(after.wall, kind, sentence(aside), "worker", after.spec.name)
