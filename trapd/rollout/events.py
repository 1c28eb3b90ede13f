"""What happened in a pool from one pass to the next, as events.

A pass sees states, never what led to them: a signal may be lost, and trapd may have been away. So each worker's story
is told from the state in which history knows the worker to the state that is seen, with what must lie between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from trapd.event import Became, Event, EventKind, TaskEnd
from trapd.model import (
    CodeReport,
    Failure,
    FailureKind,
    Instance,
    InstanceId,
    InstanceState,
    LostChild,
    PoolState,
    RemoteCommand,
    Rollout,
)
from trapd.rollout import set_aside
from trapd.rollout.actions import (
    Action,
    Advance,
    Drain,
    Forget,
    Interrupt,
    Kill,
    Plan,
    Start,
)
from trapd.rollout.view import PoolView

WORKER = "worker"  # the actor of what a worker does by itself
OUTSIDE = "outside"  # of what systemd, a person with systemctl or kill, or the machine did to it
_BECAUSE, _BY_REMOTE = "because: ", " by remote control"  # in the status of a worker that ends by itself
_SAME = 0.5  # seconds that two moments may differ which are the same: one of them was written down by the wall clock
_LEAVING = frozenset({InstanceState.DRAINING, InstanceState.STOPPING})

FAILURES: Mapping[FailureKind, EventKind] = {
    FailureKind.CODE: EventKind.FAILED,
    FailureKind.TIMEOUT: EventKind.FAILED,
    FailureKind.WATCHDOG: EventKind.HUNG,
    FailureKind.BROKER: EventKind.CRASHED,
    FailureKind.MEMORY: EventKind.OOM_KILLED,
    FailureKind.CRASH: EventKind.CRASHED,
}
_STATES = {
    EventKind.STARTED: InstanceState.STARTING,
    EventKind.READY: InstanceState.READY,
    EventKind.DRAINING: InstanceState.DRAINING,
    EventKind.INTERRUPTED: InstanceState.DRAINING,
    EventKind.KILLED: InstanceState.STOPPING,
    **dict.fromkeys(FAILURES.values(), InstanceState.FAILED),
}
_KINDS = {
    "start": EventKind.STARTED,
    "drain": EventKind.DRAINING,
    "interrupt": EventKind.INTERRUPTED,
    "kill": EventKind.KILLED,
    "forget": EventKind.FORGOT,
    "promote": EventKind.PROMOTED,
    "reject": EventKind.REJECTED,
    "fail": EventKind.GIVEN_UP,
    "finish": EventKind.FINISHED,
    "doubt": EventKind.DOUBTED,
    "relieve": EventKind.RELIEVED,
    "suspect": EventKind.SUSPECTED,
    "verify": EventKind.VERIFIED,
    "clear": EventKind.CLEARED,
}


def between(before: PoolView, after: PoolView, plan: Plan) -> tuple[Event, ...]:
    """What was seen to have happened, worker by worker, and then what the plan does about it, all before it is done.

    ``before``: the last pass, with those of its actions that were carried out; of a trapd that has just begun, what
    history tells (``recalled``). ``after``: this pass.
    """
    previous = _Previous(before)
    was = {instance.id: instance for instance in before.instances}
    now = {instance.id: instance for instance in after.instances}
    seen = [
        _Worker(after, previous, id).story(previous.as_left(id, was.get(id)), now.get(id))
        for id in sorted({*was, *now, *previous.done})
    ]
    told = [*(event for story in seen for event in story), *set_aside.news(before, after)]
    return (*told, *(of_action(action, after) for action in plan.actions))


def recalled(events: Iterable[Event], now: float, wall: float, booted: float) -> tuple[Instance, ...]:
    """The workers as history knows them, from the events that History.unfinished gives.

    ``since`` is below 0 where the machine was started since: CLOCK_MONOTONIC began anew. In a container it goes on, so
    ``booted`` says when that was.
    """
    failures: dict[str, Failure] = {}
    remote: dict[str, RemoteCommand] = {}
    lost: dict[str, LostChild] = {}
    found: dict[str, Instance] = {}
    for event in events:
        if event.kind is EventKind.REMOTE:
            remote[str(event.instance)] = RemoteCommand(event.reason, event.wall)
        elif event.kind.reported:
            lost[str(event.instance)] = LostChild("", "", "", event.wall)
    for event in events:
        if event.kind.reported:
            continue
        name, at = str(event.instance), now - (wall - event.wall)
        at = at if at >= booted else at - booted
        if event.kind.failure:
            kind = next(kind for kind, recorded in FAILURES.items() if recorded is event.kind)
            failures[name] = Failure(kind, event.reason, event.detail, at)
        report = None
        if name in remote or name in lost:
            commands = (remote[name],) if name in remote else ()
            children = (lost[name],) if name in lost else ()
            report = CodeReport(event.generation or 0, "", {}, remote=commands, lost=children)
        state, failure = _STATES[event.kind], failures.get(name)
        found[name] = Instance(InstanceId.parse(name), state, at, failure=failure, report=report)
    return tuple(found[name] for name in sorted(found))


def interruptions(events: Iterable[Event], now: float, wall: float) -> dict[InstanceId, float]:
    """When the tasks of workers were interrupted, from the events that History.unfinished gives; -inf for a worker that
    was to be killed, which comes after its interruption or in its place. Without this a restart of trapd would begin
    anew, and interrupt once more."""
    found: dict[InstanceId, float] = {}
    for event in events:
        if event.kind in (EventKind.INTERRUPTED, EventKind.KILLED):
            at = now - (wall - event.wall) if event.kind is EventKind.INTERRUPTED else -math.inf
            found[InstanceId.parse(str(event.instance))] = at
    return found


def rollout_of(state: PoolState, generation: int | None) -> int | None:
    """The rollout for whose sake something was done to this generation, which may be the one that it replaces."""
    latest = state.rollout
    return None if latest is None or (latest.state.over and latest.generation != generation) else latest.id


def journal_fields(state: PoolState, action: Action) -> dict[str, str]:
    """For ``journalctl POOL=... INSTANCE=...``."""
    instance = action.instance
    generation = instance.generation if instance else getattr(action, "generation", state.wanted)
    rollout = rollout_of(state, generation)
    named = {"POOL": state.pool, "INSTANCE": instance, "GENERATION": generation, "ROLLOUT": rollout}
    return {key: str(value) for key, value in named.items() if value is not None}


def begun(rollout: Rollout) -> Event:
    """A rollout that a trigger begins."""
    of = (rollout.pool, rollout.id, rollout.generation)
    return Event(rollout.started_wall, EventKind.WANTED, rollout.reason, rollout.actor, *of)


def gave_way(before: PoolState, after: PoolState, actor: str, now: float, wall: float) -> list[Event]:
    """The end of the rollout that was under way ``before``, if a trigger has made that void; none that was over ends
    again."""
    under_way, ended = before.rollout is not None and not before.rollout.state.over, after.rollout
    return [superseded(ended, ended.reason, actor, now, wall)] if under_way and ended and ended.state.over else []


def superseded(rollout: Rollout, why: str, actor: str, now: float, wall: float) -> Event:
    """A rollout that a trigger makes void."""
    of = (rollout.pool, rollout.id, rollout.generation)
    duration = round(max(0.0, _age(rollout, now, wall)), 3)
    return Event(wall, EventKind.SUPERSEDED, why, actor, *of, duration=duration)


def _age(rollout: Rollout, now: float, wall: float) -> float:
    """By the clock that nobody sets, where that is known: the other one may have been set a moment ago."""
    return wall - rollout.started_wall if rollout.began_at is None else now - rollout.began_at


class _Previous:
    """What was done in the pass before, and has been told."""

    def __init__(self, before: PoolView) -> None:
        self.at = before.at
        self.done: dict[InstanceId, Action] = {a.instance: a for a in before.actions if a.instance is not None}

    def as_left(self, id: InstanceId, was: Instance | None) -> Instance | None:
        """The worker as the pass before left it."""
        match self.done.get(id):
            case Start():
                failure = was.failure if was is not None else None
                return Instance(id, InstanceState.STARTING, self.at, failure=failure)
            case Forget():
                return None
            case Drain() if was is not None and was.state not in _LEAVING:
                return replace(was, state=InstanceState.DRAINING, since=self.at)
            case _:
                return was


@dataclass(frozen=True, slots=True)
class _Worker:
    """Tells the story of one worker from one state to another."""

    view: PoolView  # of this pass
    previous: _Previous
    id: InstanceId

    def story(self, was: Instance | None, now: Instance | None) -> Iterator[Event]:
        alive = was is not None and was.state is not InstanceState.FAILED
        failed = now is not None and self._failed_anew(was, now)
        if was is not None and alive and (now is None or (not failed and _other_run(was, now))):
            yield self._ended(was)
            was, alive = None, False
        elif was is not None and now is None:
            yield self._event(EventKind.FORGOT, "the failed worker is not there any more", OUTSIDE)
        if now is None:
            return
        if failed:
            if not alive:
                yield self._event(EventKind.STARTED, "started by systemd or a person", OUTSIDE, at=now.failed_at)
            yield self._failure(was if alive else None, now)
            was, alive = None, False
        if now.state is not InstanceState.FAILED:
            yield from self._running(was if alive else None, now, again="again " if failed else "")
            yield from self._remote(was if alive else None, now)
            yield from self._lost(was if alive else None, now)

    def _running(self, was: Instance | None, now: Instance, again: str) -> Iterator[Event]:
        """``was``: the same run, or None if no run was known."""
        began = now.since if now.state is InstanceState.STARTING else None
        if was is None:
            yield self._event(EventKind.STARTED, f"started {again}by systemd or a person", OUTSIDE, at=began)
        elif was.state is InstanceState.STARTING:
            began = was.since
        if now.ready_at is not None and (was is None or was.state is InstanceState.STARTING):
            lasted = None if began is None else now.ready_at - began
            yield self._event(EventKind.READY, _ready(now), WORKER, at=now.ready_at, lasted=lasted)
        if now.state is InstanceState.READY and was is not None and was.state in _LEAVING:
            yield self._event(EventKind.READY, "is ready still: trapd ended before it could drain it")
        if now.state is InstanceState.DRAINING and (was is None or was.state not in _LEAVING):
            lasted = None if now.ready_at is None else now.since - now.ready_at
            because = now.status.partition(_BECAUSE)[2]
            if because.endswith(_BY_REMOTE):
                yield self._event(EventKind.REMOTE, because.removesuffix(_BY_REMOTE), OUTSIDE, at=now.since)
            why = f"leaves: {because}" if because else "was asked to leave by systemd or a person"
            yield self._event(EventKind.DRAINING, why, OUTSIDE, at=now.since, lasted=lasted)

    def _remote(self, was: Instance | None, now: Instance) -> Iterator[Event]:
        """Commands that came since. A command that was taken back leaves the report, and none is older than it was."""
        told = max((command.wall for command in _commands(was)), default=-math.inf)
        for command in _commands(now):
            if command.wall > told:
                yield replace(self._event(EventKind.REMOTE, command.command, OUTSIDE), wall=command.wall)

    def _lost(self, was: Instance | None, now: Instance) -> Iterator[Event]:
        """Processes of its pool that were killed since."""
        told = max((child.wall for child in _lost_children(was)), default=-math.inf)
        for child in _lost_children(now):
            if child.wall > told:
                kind = EventKind.CHILD_OOM_KILLED if child.memory else EventKind.CHILD_LOST
                why = "was killed by the kernel: out of memory" if child.memory else f"ended by {child.how}"
                tasks = (TaskEnd(child.id, child.task, Became.UNKNOWN),)
                reason = f"the process that ran {child.task}[{child.id}] {why}"
                yield replace(self._event(kind, reason, WORKER), wall=child.wall, tasks=tasks)

    def _failed_anew(self, was: Instance | None, now: Instance) -> bool:
        if now.state is InstanceState.FAILED and was is not None and was.state is not InstanceState.FAILED:
            return True
        before = was.failure if was is not None else None
        return now.failure is not None and (before is None or now.failure.at > before.at + _SAME)

    def _failure(self, was: Instance | None, now: Instance) -> Event:
        failure = now.failure
        if failure is None:
            return self._event(EventKind.CRASHED, now.status or "no reason is known", WORKER, at=now.since)
        ready_at = _ready_at(was) if was is not None else None
        kind = FAILURES[failure.kind]
        since = ready_at if ready_at is not None or was is None else was.since
        lasted = None if since is None or (ready_at is None) is not (kind is EventKind.FAILED) else failure.at - since
        actor = OUTSIDE if kind is EventKind.OOM_KILLED else WORKER
        return self._event(kind, failure.summary, actor, at=failure.at, lasted=lasted, detail=failure.detail)

    def _ended(self, was: Instance) -> Event:
        """A run that was there, and is not."""
        if was.since < 0:
            doing = {InstanceState.STARTING: "while it started", InstanceState.READY: "while it worked"}
            before = doing.get(was.state, "before it was known to have finished its tasks")
            return self._event(EventKind.LOST, f"the machine went down {before}", OUTSIDE)
        lasted = max(0.0, self.view.at - was.since)
        if was.state is InstanceState.STOPPING or isinstance(self.previous.done.get(self.id), Kill):
            return self._event(EventKind.GONE, "was ended" + (f": {was.status}" if was.status else ""))
        if was.state is InstanceState.DRAINING:
            return self._event(EventKind.GONE, f"left {lasted:.1f} s after it was asked to", WORKER, lasted=lasted)
        return self._event(EventKind.GONE, "left between two looks of trapd", OUTSIDE)

    def _event(
        self,
        kind: EventKind,
        reason: str,
        actor: str = "trapd",
        *,
        at: float | None = None,
        lasted: float | None = None,
        detail: str = "",
    ) -> Event:
        """``at``: when it happened, of CLOCK_MONOTONIC; None: now, for all that is known."""
        view, id = self.view, self.id
        wall = view.wall if at is None else view.wall - max(0.0, view.at - at)
        duration = None if lasted is None else round(max(0.0, lasted), 3)
        rollout = rollout_of(view.state, id.generation)
        return Event(wall, kind, reason, actor, id.pool, rollout, id.generation, id.name, detail, duration)


def of_action(action: Action, view: PoolView) -> Event:
    """What this action will have been, told before it is done."""
    state, instance = view.state, action.instance
    generation = instance.generation if instance else getattr(action, "generation", state.wanted)
    kind = EventKind(action.state) if isinstance(action, Advance) else _KINDS[action.verb]
    lasted = None
    if instance is not None:
        seen = next((i for i in view.instances if i.id == instance), None)
        lasted = _lasted(action, seen, view.at)
    elif kind.lasted and state.rollout is not None and state.rollout.generation == generation:
        lasted = _age(state.rollout, view.at, view.wall)
    return Event(
        wall=view.wall,
        kind=kind,
        reason=action.why,
        pool=state.pool,
        rollout=rollout_of(state, generation),
        generation=generation,
        instance=instance.name if instance else None,
        detail=getattr(action, "detail", ""),
        duration=None if lasted is None else round(max(0.0, lasted), 3),
    )


def _lasted(action: Action, instance: Instance | None, now: float) -> float | None:
    match action:
        case Drain() if instance is not None and instance.ready_at is not None:
            return now - instance.ready_at
        case Interrupt() | Kill() if instance is not None and instance.state is InstanceState.DRAINING:
            return now - instance.since
        case _:
            return None


def _other_run(was: Instance, now: Instance) -> bool:
    """Did the run that was there end, and another one of the same worker begin, between two looks?"""
    if was.since < 0:  # known before the machine was started
        return True
    if now.state is InstanceState.STARTING:
        return was.state is not InstanceState.STARTING and now.since > was.since
    if now.state is InstanceState.READY and now.ready_at is not None:
        # told to leave by a trapd that ended before it did so, it is still the run that was ready before
        began = was.since if was.state in _LEAVING else was.ready_at
        return began is not None and now.ready_at > began + _SAME
    return False


def _commands(instance: Instance | None) -> tuple[RemoteCommand, ...]:
    return instance.report.remote if instance is not None and instance.report is not None else ()


def _lost_children(instance: Instance | None) -> tuple[LostChild, ...]:
    return instance.report.lost if instance is not None and instance.report is not None else ()


def _ready_at(instance: Instance) -> float | None:
    if instance.ready_at is None and instance.state is InstanceState.READY:
        return instance.since  # as recalled
    return instance.ready_at


def _ready(instance: Instance) -> str:
    versions = instance.report.versions if instance.report is not None else {}
    return "sent READY" + "".join(f", {name} {version}" for name, version in sorted(versions.items()))
