"""`trapctl why`: the chain from what set it off to what is awaited now, for a pool, a rollout or a worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from trapd.control import documents
from trapd.control.documents import Step
from trapd.control.drains import Waits, sentence
from trapd.control.needs import Context
from trapd.control.pinned import line
from trapd.control.protocol import SCHEMA
from trapd.errors import UsageError
from trapd.event import OWN_ACTORS, Became, Event
from trapd.model import Generation, Instance, InstanceId, Rollout
from trapd.rollout.budget import budget
from trapd.rollout.changes import changes
from trapd.rollout.intent import GoBack, Nothing, Received, Trigger
from trapd.rollout.receipts import named
from trapd.rollout.room import Room
from trapd.rollout.truth import code_state
from trapd.rollout.view import PoolView
from trapd.sizes import counted

_EVENTS = 500  # of one rollout; a pool of two hundred workers makes about that many
_CHANGES = 50  # lines of what a generation changed
_DIGITS = 15  # of a rollout's number: more than there will ever be


def why(context: Context, subject: str, waits: Waits | None = None) -> documents.Why:
    """``chain``: steps in the order of time, each with ``at`` (None: now), ``what`` and ``text``. ``waits``: the tasks
    that drains wait for."""
    answer = _why(context, subject)
    for id, runs in (waits or {}).items():
        if runs and subject in (id.name, id.pool):
            answer["chain"].append(_step(None, "waiting", f"{id} {sentence(runs, context.clock.wall())}"))
    return answer


def _why(context: Context, subject: str) -> documents.Why:
    pools = [view.spec.name for view in context.controller.pools()]
    if subject in pools:
        return _document(subject, "pool", *_of_pool(context, subject))
    if subject.isdecimal() and len(subject) <= _DIGITS:
        rollout = find_rollout(context, int(subject))
        return _document(subject, "rollout", *_of_rollout(context, rollout))
    word, _, number = subject.partition(" ")
    if word == "generation" and number.isdecimal() and len(number) <= _DIGITS:
        return _document(subject, "generation", *_of_generation(context, int(number)))
    try:
        id = InstanceId.parse(subject)
    except ValueError:
        names = ", ".join(pools)
        known = f"a pool ({names}), a rollout's number, a worker (POOL@G-S) or a generation (generation N)"
        message = f"cannot explain {subject!r}: name {known}"
        raise UsageError(message) from None
    return _document(id.name, "instance", *_of_instance(context, id))


def find_rollout(context: Context, number: int) -> Rollout:
    """As it is now, or as history has it. Raises UsageError if there never was one."""
    for view in context.controller.pools():
        latest = view.state.rollout
        if latest is not None and latest.id == number:
            return latest
    found = context.controller.history.rollout(number)
    if found is None:
        raise UsageError(f"cannot find rollout {number}: see trapctl rollout history")
    return found


_Kind = Literal["pool", "rollout", "instance", "generation"]


def _document(subject: str, kind: _Kind, chain: Iterable[Step], detail: str) -> documents.Why:
    return {"schema": SCHEMA, "subject": subject, "kind": kind, "chain": list(chain), "detail": detail}


def _step(wall: float | None, what: str, text: str) -> Step:
    return {"at": wall, "what": what, "text": text}


def _of_pool(context: Context, name: str) -> tuple[list[Step], str]:
    view = context.controller.pool(name)
    if view.state.rollout is not None:
        chain, detail = _of_rollout(context, view.state.rollout)
    else:
        chain, detail = [_event(e) for e in context.controller.history.events(pool=name, limit=20)] + _now(view), ""
    if view.received is not None and isinstance(view.received.intent, Nothing | GoBack):  # no rollout tells of it
        wall = view.received.wall
        later = (n for n, step in enumerate(chain) if (at := step["at"]) is None or at > wall)
        chain.insert(next(later, len(chain)), _received(view.received))
    if view.installed is not None:
        chain.append(_step(None, Trigger.DISK, str(view.installed)))
    return chain, detail


def _of_rollout(context: Context, rollout: Rollout) -> tuple[list[Step], str]:
    chain = _generation(context, rollout.generation, rollout.previous)
    chain += [_event(event) for event in context.controller.history.events(rollout=rollout.id, limit=_EVENTS)]
    if not rollout.state.over:
        chain.append(_step(None, rollout.state.value, f"rollout {rollout.id}: {rollout.reason}"))
    elif not any(step["text"].endswith(rollout.reason) for step in chain):  # its last event says it mostly
        chain.append(_step(rollout.ended_wall, rollout.state.value, rollout.reason))
    view = context.controller.pool(rollout.pool)
    if view.state.rollout is not None and view.state.rollout.id == rollout.id:
        chain += _now(view)
    return chain, rollout.detail


def _of_generation(context: Context, number: int) -> tuple[list[Step], str]:
    """Why it was made, what was changed by it, and what became of it."""
    history, known = context.controller.history, context.controller.generations
    mine = [event for event in history.events(generation=number, limit=_EVENTS) if event.instance is None]
    if number not in known and not mine:
        there = ", ".join(str(kept) for kept in sorted(known)) or "none"
        raise UsageError(f"cannot explain generation {number}: history has none of that number; there are: {there}")
    previous = _previous(context, mine)
    chain = _generation(context, number, previous)
    before, after = known.get(previous or 0), known.get(number)
    if before is not None and after is not None and before.distributions and after.distributions:
        table = {*before.distributions, *after.distributions}
        found = [str(change) for change in changes(before.distributions, after.distributions, table)]
        chain += [_step(after.wall, "changed", text) for text in found[:_CHANGES]]
        if len(found) > _CHANGES:
            diff = f"trapctl generations diff {before.number} {number}"
            chain.append(_step(after.wall, "changed", f"and {len(found) - _CHANGES} more: {diff}"))
    return chain + [_event(event) for event in mine], ""


def _of_instance(context: Context, id: InstanceId) -> tuple[list[Step], str]:
    view = context.controller.pool(id.pool)
    mine = context.controller.history.events(instance=id.name, limit=_EVENTS)
    instance = next((i for i in view.instances if i.id == id), None)
    if instance is None and not mine:
        raise UsageError(f"cannot explain {id}: no such worker runs, and history has none; see trapctl status")
    told = [step for event in mine for step in (_event(event), *_tasks(event))]
    chain = _generation(context, id.generation, _previous(context, mine)) + told
    if instance is None:
        return chain if mine and mine[-1].kind.over else [
            *chain,
            _step(None, "gone", f"{id} is not there any more"),
        ], ""
    chain.append(_step(None, instance.state.value, _instance_now(context, instance, view.state.wanted)))
    chain += [_step(None, "next", str(action)) for action in view.actions if action.instance == id]
    if id.name in view.waiting:
        chain.append(_step(None, "waiting", f"pool {id.pool} waits for {view.waiting}"))
    return chain, instance.failure.detail if instance.failure else ""


def _previous(context: Context, events: Iterable[Event]) -> int | None:
    """What the generation of these events replaced."""
    for event in events:
        rollout = context.controller.history.rollout(event.rollout) if event.rollout is not None else None
        if rollout is not None and rollout.generation == event.generation:
            return rollout.previous
    return None


def _generation(context: Context, number: int, previous: int | None) -> list[Step]:
    known = context.controller.generations
    generation = known.get(number)
    if generation is None:
        return [_step(None, "generation", f"generation {number}, of which no record is kept any more")]
    before = known.get(previous) if previous is not None else None
    changes = _versions(before, generation)
    text = generation.reason if changes in generation.reason else f"{changes}; {generation.reason}"
    return [_step(generation.wall, "generation", f"generation {number}: {text} (by {generation.actor})")]


def _versions(before: Generation | None, after: Generation) -> str:
    """``trap 1.3.0 -> 1.4.0``; a version that stayed is said once."""
    old: Mapping[str, str] = before.versions if before else {}
    names = sorted({*old, *after.versions})
    parts = []
    for name in names:
        was, now = old.get(name), after.versions.get(name, "removed")
        parts.append(f"{name} {now}" if was in (None, now) else f"{name} {was} -> {now}")
    return ", ".join(parts) or "no watched distribution"


def _received(received: Received) -> Step:
    return _step(received.wall, received.trigger, f"{received.intent} (by {received.actor})")


def _event(event: Event) -> Step:
    text = f"{event.instance}: {event.reason}" if event.instance else event.reason
    return _step(event.wall, event.kind, text + (f" (by {event.actor})" if event.actor not in OWN_ACTORS else ""))


def _tasks(event: Event) -> Iterator[Step]:
    """What became of the tasks that an ended worker had, by id."""
    for became in Became:
        if found := [task for task in event.tasks if task.became is became]:
            yield _step(event.wall, became, named(found, len(found)))


def _instance_now(context: Context, instance: Instance, wanted: int | None) -> str:
    seconds = max(0.0, context.clock.now() - instance.since)
    parts = [f"{instance.state.value} for {seconds:.0f} s", f"code {code_state(instance, wanted)}"]
    if instance.report is not None:
        parts.append(", ".join(f"{name} {version}" for name, version in sorted(instance.report.versions.items())))
    if instance.report is not None and instance.report.strays:
        parts.append(f"loaded from outside its snapshot: {', '.join(instance.report.strays[:5])}")
    if instance.report is not None and instance.report.replaced:
        parts.append(f"holds old modules, and newer ones: {', '.join(instance.report.replaced[:5])}")
    if instance.status:
        parts.append(instance.status)
    if instance.failure is not None:
        at = context.moment(instance.failure.at)
        ago = max(0.0, context.clock.wall() - at)
        parts.append(f"failed {counted(instance.failures, 'time')}, {ago:.0f} s ago: {instance.failure.summary}")
    return "; ".join(part for part in parts if part)


def _room(view: PoolView, room: Room) -> str:
    allowed = budget(view.spec, view.wanted_workers, sized=room.workers is not None)
    alive = counted(allowed.ceiling, "worker is", "workers are")
    many = f"at most {alive} alive: {view.wanted_workers} wanted, max_surge {allowed.surge}"
    fit = "" if room.workers is None else f"; when a pass last asked, there was memory for {room.workers} more"
    return f"{many}, max_draining {allowed.draining}{fit} ({room})"


def _now(view: PoolView) -> list[Step]:
    steps = [_step(None, "next", str(action)) for action in view.actions]
    if view.waiting:
        steps.append(_step(None, "waiting", f"waits for {view.waiting}"))
    if view.room is not None and not view.short:
        steps.append(_step(None, "memory", _room(view, view.room)))
    steps += [_step(held.wall, "pinned", line(held)) for held in view.state.pins]
    if view.state.paused:
        steps.append(_step(None, "paused", f"trapctl rollout resume {view.spec.name} lets it go on"))
    return steps
