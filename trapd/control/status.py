"""The status document: what runs, against what should. Its members are in documents.py."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from trapd.control import documents, incidents
from trapd.control.drains import Waits, described, overdue
from trapd.control.needs import Context
from trapd.control.outlook import coming, held_back
from trapd.control.protocol import SCHEMA
from trapd.control.withheld import When, ago, all_withheld, beneath, withheld
from trapd.durations import age
from trapd.event import Event
from trapd.model import Ailment, Disk, DiskState, Instance, InstanceId, InstanceState, Memory, Rollout, RolloutState
from trapd.rollout.truth import code_state, serves
from trapd.rollout.view import PoolView
from trapd.rollout.world import scaled_otherwise

NOT_LEAVING = ("did not leave", "not leaving")  # in the status of one that hangs in its drain
_UNREACHABLE = re.compile(r"(.+) unreachable for (\d+) s")  # the status of one that is cut off (worker/health.py)
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
    return {
        "schema": SCHEMA,
        "daemon": {
            "version": about.version,
            "pid": about.pid,
            "host": about.host(),
            "backend": about.backend,
            "state": about.state(),
            "eager": eager,
        },
        "disk": describe_disk(disk),
        "pools": [
            _pool(context, view, eager, memory, waits)
            for view in (context.controller.pools() if views is None else views)
        ],
        "problems": _daemon_problems(about.state(), troubles) + _disk_problems(disk),
        "warnings": [*about.warnings(), *_overrides(context)],
    }


def _overrides(context: Context) -> list[str]:
    """Pools that somebody scaled to another number than trapd.toml says: as wanted, and easily forgotten."""
    when = ago(context.clock.wall())
    overrides = [scaled_otherwise(view.spec, view.state, when) for view in context.controller.pools()]
    return [override for override in overrides if override]


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
    }


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
    }


def _pool(context: Context, view: PoolView, eager: bool, memory: Used, waits: Waits) -> documents.Pool:
    state = view.state
    wanted = context.controller.generations.get(state.wanted) if state.wanted is not None else None
    latest = context.controller.history.events(pool=view.spec.name, limit=1)
    instances = sorted(view.instances, key=lambda i: (-i.id.generation, i.id.slot))
    return {
        "name": view.spec.name,
        "wanted": view.wanted_workers,
        "ready": _ready(view),
        "generation": state.wanted,
        "digest": wanted.fingerprint if wanted else None,
        "versions": dict(wanted.versions) if wanted else {},
        "last_good": state.last_good,
        "paused": state.paused,
        "waiting": view.waiting,
        "next": coming(view),
        "held_back": held_back(context.controller.disk, view),
        "rollout": describe(state.rollout) if state.rollout else None,
        "instances": [_instance(context, instance, state.wanted, memory, waits) for instance in instances],
        "problems": [] if eager and not instances else _pool_problems(context, view) + overdue(context, view, waits),
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
        "since": epoch(context, instance.since),
        "ready_at": epoch(context, instance.ready_at) if instance.ready_at is not None else None,
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
    return {"kind": failure.kind.value, "summary": failure.summary, "at": epoch(context, failure.at)}


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


def _ready(view: PoolView) -> int:
    return sum(serves(instance) for instance in view.instances)


def _daemon_problems(state: str, troubles: Sequence[str]) -> list[str]:
    """Until it runs, and once it stops, it wants no workers: then every pool has what it wants and nothing is said."""
    return ([] if state == "running" else [f"trapd is {state}"]) + list(troubles)


def missing(disk: Disk, views: Sequence[PoolView], when: When) -> list[str]:
    """What workers need and do not have, in sentences: code that is whole, code that is installed, and a broker."""
    problems = [problem for view in views for problem in _broker_problems(view)]
    return [*_disk_problems(disk), *all_withheld(disk, views, when), *problems]


def _broker_problems(view: PoolView) -> list[str]:
    longest: dict[str, int] = {}
    count: Counter[str] = Counter()
    for instance in view.instances:
        if instance.ailment is Ailment.CUT_OFF:
            found = _UNREACHABLE.match(instance.status)
            whom, seconds = (found[1], int(found[2])) if found else ("broker", 0)
            count[whom], longest[whom] = count[whom] + 1, max(seconds, longest.get(whom, 0))
    return [
        f"{_workers(count[whom])} of pool {view.spec.name} cannot reach the {whom}, for {age(longest[whom])}"
        for whom in sorted(count)
    ]


def _disk_problems(disk: Disk) -> list[str]:
    if disk.state is not DiskState.BROKEN:
        return []
    return [f"what is installed is broken and not rolled out: {disk.reason or 'no reason known'}"]


def _pool_problems(context: Context, view: PoolView) -> list[str]:
    """Why this pool is not as desired. A rollout that goes on well is no problem."""
    state, rollout = view.state, view.state.rollout
    found = []
    if (ready := _ready(view)) < view.wanted_workers:
        found.append(f"{ready} of {view.wanted_workers} workers are ready")
    # what was refused and was then taken back, by pip or in trapd.toml, is nobody's problem any more
    taken_back = rollout and rollout.generation != state.wanted and context.controller.as_installed(view.spec.name)
    proved_later = rollout and rollout.generation in state.good  # it failed, and there was nothing to go back to
    disk, when = context.controller.disk, ago(context.clock.wall())
    kept = withheld(disk, view, when) or beneath(disk, view, context.controller.generations, when)
    if kept:
        found.append(kept)
    elif rollout and rollout.state in _WORD and not taken_back and not proved_later:
        found.append(f"generation {rollout.generation} was {_WORD[rollout.state]}: {rollout.reason}")
    found += _broker_problems(view)
    going_on = rollout is not None and not rollout.state.over
    if state.paused and not going_on:
        found.append("it is paused")
    return found + _instance_problems(view, going_on) + _hanging(context, view) + incidents.problems(context, view)


_WORD = {RolloutState.REJECTED: "rejected", RolloutState.FAILED: "given up"}


def _instance_problems(view: PoolView, rolling: bool) -> list[str]:
    found = []
    codes: Counter[str] = Counter()
    for instance in view.instances:
        if instance.state is InstanceState.FAILED:
            why = instance.failure.summary if instance.failure else instance.status or "no reason known"
            found.append(f"{instance.id} failed: {why}")
        elif instance.state is InstanceState.STARTING and instance.failures and instance.failure:
            times, why = instance.failures, instance.failure.summary
            found.append(f"{instance.id} starts again, it failed {times} time(s): {why}")
        elif instance.state is InstanceState.READY:
            codes[code_state(instance, view.state.wanted)] += 1
    if codes["mixed"]:
        replaced = sorted({file for i in view.instances if i.report for file in i.report.replaced})
        how = f"old and newer modules ({', '.join(replaced[:3])})" if replaced else "code from outside the snapshot"
        found.append(f"{_workers(codes['mixed'])} loaded {how}")
    if codes["unknown"]:
        found.append(f"{_workers(codes['unknown'])} did not report which code was loaded")
    if codes["stale"] and not rolling:
        found.append(f"{_workers(codes['stale'])} of another generation than {view.state.wanted}, and no rollout is on")
    return found


def _hanging(context: Context, view: PoolView) -> list[str]:
    """Who runs and does nothing, with how long and where, as far as it can say so itself."""
    found, now = [], context.clock.now()
    for instance in view.instances:
        if instance.ailment is Ailment.STALLED:
            found.append(f"{instance.id} does not work: {instance.status}")
        elif instance.ailment is Ailment.IDLE:
            found.append(f"{instance.id} takes no tasks: {instance.status}")
        elif instance.ailment is Ailment.SILENT and instance.alive_at is not None:
            found.append(f"{instance.id} gives no sign of life for {now - instance.alive_at:.0f} s")
        elif any(words in instance.status for words in NOT_LEAVING):
            found.append(f"{instance.id} hangs: {instance.status}")
    return found


def _workers(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers"
