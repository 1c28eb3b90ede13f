"""The status document: what runs, against what should. Its members are in documents.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trapd.control import documents
from trapd.control.drains import Waits, described
from trapd.control.needs import Context
from trapd.control.outlook import coming, held_back
from trapd.control.pinned import awaited_in_status, described_pin
from trapd.control.problems import collect, ready
from trapd.control.protocol import SCHEMA
from trapd.control.withheld import ago
from trapd.event import Event
from trapd.model import Disk, Instance, InstanceId, InstanceState, Memory, Rollout
from trapd.problem import Problem
from trapd.rollout import task_changes
from trapd.rollout.truth import code_state
from trapd.rollout.view import PoolView
from trapd.rollout.worker_orders import reminders
from trapd.rollout.world import scaled_otherwise

Used = Mapping[InstanceId, Memory]
_NOTHING: Used = {}
_NO_WAITS: Waits = {}
_DETAIL = 4000  # characters of a traceback that are worth a status: its end says what was raised


def status(
    context: Context,
    views: Sequence[PoolView] | None = None,
    memory: Used = _NOTHING,
    troubles: Sequence[str] = (),
    waits: Waits = _NO_WAITS,
) -> documents.Status:
    """The whole document; ``views`` are the pools as of now, without them as the last pass saw them; ``memory`` is what
    their workers use; ``troubles`` are those of trapd itself; ``waits`` are the tasks that drains wait for."""
    about, disk = context.about, context.controller.disk
    eager = is_eager(context)
    views = context.controller.pools() if views is None else views
    problems = collect(context, views, troubles, waits, eager)
    return {
        "schema": SCHEMA,
        "daemon": {
            "version": about.version,
            "pid": about.pid,
            "host": about.host(),
            "backend": about.backend,
            "state": about.state(),
            "eager": eager,
            "watch": "events" if about.hears() else "looks",
        },
        "disk": describe_disk(disk),
        "pools": [_pool(context, view, problems, memory, waits) for view in views],
        "problems": [problem.text for problem in problems if problem.pool is None],
        "open_problems": [described_problem(problem, context.clock.wall()) for problem in problems],
        "warnings": [*about.warnings(), *_overrides(context)],
    }


def _overrides(context: Context) -> list[str]:
    """Pools that somebody scaled to another number than trapd.toml says, and workers that somebody drained: as wanted,
    and easily forgotten."""
    when = ago(context.clock.wall())
    overrides = [scaled_otherwise(view.spec, view.state, when) for view in context.controller.pools()]
    drained = [line for view in context.controller.pools() for line in reminders(view.state, when)]
    return [*(override for override in overrides if override), *drained]


def describe_disk(disk: Disk) -> documents.Disk:
    """What is installed as a document."""
    return {
        "state": disk.state.value,
        "digest": disk.fingerprint,
        "versions": dict(disk.versions),
        "reason": disk.reason,
    }


def is_eager(context: Context) -> bool:
    """Do tasks run in their submitters' processes, so that no worker is needed? As the wanted generations say."""
    wanted = {view.state.wanted for view in context.controller.pools()}
    known = [generation for number, generation in context.controller.generations.items() if number in wanted]
    return all(generation.eager for generation in known) if known else context.controller.disk.eager


def describe(rollout: Rollout) -> documents.Rollout:
    """A rollout as a document."""
    return {
        "id": rollout.id,
        "pool": rollout.pool,
        "state": rollout.state.value,
        "reason": rollout.reason,
        "generation": rollout.generation,
        "previous": rollout.previous,
        "actor": rollout.actor,
        "started": rollout.started_wall,
        "ended": rollout.ended_wall,
        "versions": dict(rollout.versions),
        "previous_versions": dict(rollout.previous_versions),
        "detail": rollout.detail[-_DETAIL:],
        "tasks": _task_changes(rollout),
        "suspected": [retrial.task for retrial in rollout.retrials if not retrial.over],
    }


def _task_changes(rollout: Rollout) -> documents.TaskChanges | None:
    found = rollout.tasks
    if found is None:
        return None
    text = task_changes.sentence(rollout)
    return {"missing": list(found.missing), "altered": list(found.altered), "text": text}


def event(event: Event) -> documents.Event:
    """A line of the history as a document."""
    return {
        "id": event.id,
        "at": event.wall,
        "kind": event.kind.value,
        "pool": event.pool,
        "instance": event.instance,
        "generation": event.generation,
        "rollout": event.rollout,
        "actor": event.actor,
        "reason": event.reason,
        "detail": event.detail,
        "duration": event.duration,
        "tasks": [{"id": task.id, "name": task.name, "became": task.became.value} for task in event.tasks],
    }


def described_problem(problem: Problem, now: float) -> documents.OpenProblem:
    """Return a problem as a document."""
    return {
        "kind": problem.kind.value,
        "pool": problem.pool,
        "worker": problem.worker,
        "text": problem.text,
        "since": problem.since,
        "seconds": round(max(0.0, now - problem.since), 3),
    }


def _pool(context: Context, view: PoolView, problems: Sequence[Problem], memory: Used, waits: Waits) -> documents.Pool:
    state = view.state
    wanted = context.controller.generations.get(state.wanted) if state.wanted is not None else None
    latest = context.controller.history.events(pool=view.spec.name, limit=1)
    instances = sorted(view.instances, key=lambda i: (-i.id.generation, i.id.slot))
    return {
        "name": view.spec.name,
        "wanted": view.wanted_workers,
        "ready": ready(view),
        "generation": state.wanted,
        "digest": wanted.fingerprint if wanted else None,
        "versions": dict(wanted.versions) if wanted else {},
        "last_good": state.last_good,
        "paused": state.paused,
        "waiting": "; ".join(filter(None, (view.waiting, awaited_in_status(view)))),
        "next": coming(view),
        "held_back": held_back(context.controller.disk, view),
        "rollout": describe(state.rollout) if state.rollout else None,
        "instances": [_instance(context, instance, state.wanted, memory, waits) for instance in instances],
        "pins": [described_pin(pin) for pin in state.pins],
        "problems": [problem.text for problem in problems if problem.pool == view.spec.name],
        "last_event": event(latest[-1]) if latest else None,
    }


def _instance(
    context: Context, instance: Instance, wanted: int | None, memory: Used, waits: Waits
) -> documents.Instance:
    report, generation = instance.report, context.controller.generations.get(instance.id.generation)
    used = memory.get(instance.id)
    return {
        "name": instance.id.name,
        "unit": instance.id.unit,
        "pid": instance.pid,
        "state": instance.state.value,
        "generation": instance.id.generation,
        "digest": generation.fingerprint if generation else None,
        "code": code_state(instance, wanted) if instance.pid is not None else None,
        "versions": dict(report.versions) if report else {},
        "active_tasks": instance.active_tasks,
        "waits_for": [described(run, context.clock.wall()) for run in waits.get(instance.id, ())],
        "slots": report.slots if report else None,
        "since": context.moment(instance.since),
        "ready_at": context.moment(instance.ready_at) if instance.ready_at is not None else None,
        "status": instance.status,
        "failures": instance.failures,
        "failure": _failure(context, instance),
        "restarts": _restarts(context, instance),
        "memory": {"used": used.used, "limit": used.limit} if used else None,
        "strays": list(report.strays) if report else [],
        "loaded": list(report.loaded) if report else [],
        "replaced": list(report.replaced) if report else [],
        "remote": [{"command": one.command, "at": one.wall} for one in report.remote] if report else [],
    }


def _failure(context: Context, instance: Instance) -> documents.Failure | None:
    failure = instance.failure
    if failure is None:
        return None
    return {"kind": failure.kind.value, "summary": failure.summary, "at": context.moment(failure.at)}


def _restarts(context: Context, instance: Instance) -> documents.Restarts:
    """Each failed run but one that still stands was followed by another."""
    count, last = context.controller.history.failures(instance.id.name)
    if instance.state is InstanceState.FAILED:
        count -= 1
    if count < 1 or last is None:
        return {"count": 0, "cause": "", "at": None}
    return {"count": count, "cause": last.reason, "at": last.wall}


def epoch(context: Context, at: float) -> float:
    """A moment of CLOCK_MONOTONIC as seconds since the epoch, to the millisecond."""
    return round(context.clock.wall() - (context.clock.now() - at), 3)
