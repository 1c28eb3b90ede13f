"""What the workers of a pool report of messages that no worker knows, taken together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from trapd.event import Event, EventKind
from trapd.model import Instance, InstanceState, SetAside
from trapd.rollout.view import PoolView


def merged(instances: Iterable[Instance]) -> tuple[SetAside, ...]:
    """One value for each task and queue, by name. Workers of one pool look into the same parking queues at different
    moments, so the largest of their numbers counts; what each of them discarded was another message."""
    found: dict[tuple[str, str], SetAside] = {}
    for instance in instances:
        report = instance.report if instance.state is InstanceState.READY else None
        for aside in report.aside if report is not None else ():
            before = found.get((aside.task, aside.queue), replace(aside, messages=0))
            both = before.messages, aside.messages
            messages = max(both) if aside.queue else sum(both)
            found[aside.task, aside.queue] = replace(aside, messages=messages, wall=min(before.wall, aside.wall))
    return tuple(found[key] for key in sorted(found))


def sentence(aside: SetAside) -> str:
    """How many messages, and where they are."""
    messages = "1 message" if aside.messages == 1 else f"{aside.messages} messages"
    if not aside.queue:
        return f"{messages} of task {aside.task} discarded: no worker knows the task, and there is no parking queue"
    return f"{messages} of task {aside.task} in {aside.queue}: no worker knows the task"


def news(before: PoolView, after: PoolView) -> Iterator[Event]:
    """An event for each task that no worker had reported in the pass before."""
    known = {(aside.task, aside.queue) for aside in merged(before.instances)}
    for aside in merged(after.instances):
        if (aside.task, aside.queue) not in known:
            yield Event(after.wall, EventKind.SET_ASIDE, sentence(aside), "worker", after.spec.name)
