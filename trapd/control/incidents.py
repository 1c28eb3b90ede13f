"""What happened to workers that look well: ended by their broker again and again, or changed by remote control; and to
a pool that cannot start any more of them, for want of memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trapd.control.needs import Context
from trapd.durations import age
from trapd.model import FailureKind, Instance, InstanceState
from trapd.problem import Problem, ProblemKind
from trapd.rollout import set_aside
from trapd.rollout.view import PoolView

SHORT = 60.0  # s without memory for a worker that count as a problem, unless one drains: that will leave some
CONSUMER_TIMEOUT = 1800.0  # s; RabbitMQ's default
_LIMIT = re.compile(r"consumer_timeout = ([0-9.e+]+) s")  # in the failure's words (worker/ending.py)
_BECAUSE = ", because: "  # in the status of one that leaves by itself (worker/health.py)


def problems(context: Context, view: PoolView) -> list[Problem]:
    """Empty if there is nothing of the kind."""
    return [
        *_taken_back(context, view),
        *_leaving(view),
        *_remote(context, view),
        *_aside(context, view),
        *_short(context, view),
    ]


def _taken_back(context: Context, view: PoolView) -> Iterator[Problem]:
    """A task that is longer than consumer_timeout starts anew each time, without end. Each worker's last failure is
    remembered while it runs again; an old one counts no more once a repetition would have come."""
    now = context.clock.now()
    found = [(i, now - i.failure.at, _limit(i)) for i in view.instances if i.failure and _by_broker(i)]
    recent = [(instance, ago, limit) for instance, ago, limit in found if ago < 3 * limit + 60]
    if recent:
        names = ", ".join(str(instance.id) for instance, _, _ in recent)
        ago, limit = min(ago for _, ago, _ in recent), max(limit for _, _, limit in recent)
        text = (
            f"RabbitMQ took back what {names} ran or held in reserve for longer than consumer_timeout ({age(limit)}), "
            f"{age(ago)} ago (PRECONDITION_FAILED): it runs again, and without end if it takes as long; raise "
            "consumer_timeout, or x-consumer-timeout of the queue, or set task_time_limit"
        )
        yield Problem(ProblemKind.TAKEN_BACK, text, view.spec.name)


def _by_broker(instance: Instance) -> bool:
    return instance.failure is not None and instance.failure.kind is FailureKind.BROKER


def _limit(instance: Instance) -> float:
    found = _LIMIT.search(instance.failure.summary if instance.failure else "")
    return float(found[1]) if found else CONSUMER_TIMEOUT


def _leaving(view: PoolView) -> Iterator[Problem]:
    for instance in view.instances:
        _, because, why = instance.status.partition(_BECAUSE)
        if because and instance.state is InstanceState.DRAINING:
            text = f"{instance.id} leaves when its tasks have ended: {why}"
            yield Problem(ProblemKind.LEAVING, text, view.spec.name, instance.id.name)


def _remote(context: Context, view: PoolView) -> Iterator[Problem]:
    for instance in view.instances:
        commands = instance.report.remote if instance.report and instance.state is InstanceState.READY else ()
        for command in commands:
            text = f"{instance.id}: {command.command} by remote control {age(context.clock.wall() - command.wall)} ago"
            yield Problem(ProblemKind.REMOTE, text, view.spec.name, instance.id.name, since=command.wall)


def _aside(context: Context, view: PoolView) -> Iterator[Problem]:
    for aside in set_aside.merged(view.instances):
        remedy, kind = "", ProblemKind.POISONED if aside.id else ProblemKind.SET_ASIDE
        if aside.id:
            remedy = f"; trapctl tasks retry {aside.id} runs it again, trapctl tasks drop {aside.id} gives it up"
        elif aside.queue:
            remedy = f"; install code that has the task, or drop them: trapctl celery purge -Q {aside.queue}"
        text = f"{set_aside.sentence(aside)}, for {age(context.clock.wall() - aside.wall)}{remedy}"
        yield Problem(kind, text, view.spec.name, about=aside.id or aside.task, since=aside.wall)


def _short(context: Context, view: PoolView) -> Iterator[Problem]:
    """A drain gives its memory back when it is over, which may take hours; nothing else does by itself."""
    waited = context.clock.now() - view.short_since
    drains = any(instance.state is InstanceState.DRAINING for instance in view.instances)
    if view.short and waited >= SHORT and not drains:
        text = (
            f"it waits for {view.short}, for {age(waited)}; stop what else uses memory, or set max_surge = 0 and "
            f"max_unavailable = 1 in [pools.{view.spec.name}.rollout], so that an old worker leaves first"
        )
        yield Problem(ProblemKind.SHORT, text, view.spec.name, since=context.moment(view.short_since))
