"""Does the history tell a story? Each event has a cause, and each worker's events follow from one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from trapd.event import About, Event, EventKind
from trapd.model import Instance, InstanceState, RolloutState
from trapd.rollout.phases import AFTER

_K = EventKind
_FAILS = {_K.FAILED: "failed", _K.CRASHED: "failed", _K.HUNG: "failed", _K.OOM_KILLED: "failed"}
_LEAVES = {_K.GONE: "absent", _K.LOST: "absent"}
# What a worker is, and what it is after an event; an event that is not there must not come. After an error the order
# that was told before it came to nothing; one that trapd told and then died is told again.
NEXT: dict[str, dict[EventKind, str]] = {
    "absent": {_K.STARTED: "starting"},
    "starting": {_K.READY: "ready", _K.DRAINING: "draining", **_FAILS, **_LEAVES},
    "ready": {_K.DRAINING: "draining", **_FAILS, **_LEAVES},
    "draining": {
        _K.READY: "ready",
        _K.DRAINING: "draining",
        _K.INTERRUPTED: "draining",
        _K.KILLED: "killed",
        **_FAILS,
        **_LEAVES,
    },
    "killed": {_K.READY: "ready", _K.KILLED: "killed", **_FAILS, **_LEAVES},
    "failed": {_K.STARTED: "starting", _K.FORGOT: "absent"},
}
_SEEN = {
    InstanceState.STARTING: {"starting"},
    InstanceState.READY: {"ready"},
    InstanceState.DRAINING: {"draining"},
    InstanceState.STOPPING: {"starting", "ready", "draining", "killed"},
    InstanceState.FAILED: {"failed"},
}
_OF_CHILDREN = {_K.CHILD_LOST, _K.CHILD_OOM_KILLED}  # the worker itself goes on
_PROBATION = {_K.SUSPECTED, _K.VERIFIED, _K.CLEARED}
_END = {_K.FINISHED, _K.REJECTED, _K.GIVEN_UP, _K.SUPERSEDED}


class UntrueError(AssertionError):
    pass


class Workers:
    """What the workers are, as far as their events tell."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self._before: dict[str, str] = {}  # the order that was told last

    def take(self, event: Event) -> None:
        name = str(event.instance)
        state = self.states.get(name, "absent")
        if event.kind is _K.ERROR:
            self.states[name] = self._before.get(name, state)
            return
        if event.kind in _OF_CHILDREN and state not in ("absent", "failed"):
            return
        if event.kind not in NEXT[state]:
            raise UntrueError(f"{name} was {state}, and then {event}")
        self.states[name], self._before[name] = NEXT[state][event.kind], state


def check(events: Sequence[Event]) -> None:
    """Raises UntrueError for the first event that does not follow from those before it."""
    ids = [event.id for event in events]
    if ids != sorted(set(ids)) or 0 in ids:
        raise UntrueError(f"ids do not grow: {ids}")
    workers, rollouts = Workers(), defaultdict[str | None, _Rollouts](_Rollouts)
    for event in events:
        if not event.reason or not event.actor:
            raise UntrueError(f"nothing caused {event}")
        if (event.duration or 0.0) < 0.0 or (event.duration is not None and not event.kind.lasted):
            raise UntrueError(f"that duration means nothing: {event}")
        if event.kind.about is About.WORKER:
            _worker(event, workers)
        elif event.kind.about is About.ROLLOUT:
            rollouts[event.pool].take(event)
        if event.kind is _K.READY or event.kind.failure:
            rollouts[event.pool].tried.add(event.generation)


def _worker(event: Event, workers: Workers) -> None:
    name = str(event.instance)
    if event.pool is None or event.generation is None or not name.startswith(f"{event.pool}@{event.generation}-"):
        raise UntrueError(f"whose? {event}")
    workers.take(event)


class _Rollouts:
    """The rollouts of one pool, as far as their events tell."""

    def __init__(self) -> None:
        self.tried = set[int | None]()  # generations of which a worker was ready or failed
        self._wanted, self._over = set[int](), set[int]()

    def take(self, event: Event) -> None:
        wanted, over = self._wanted, self._over
        if event.kind in {_K.PROMOTED, _K.REJECTED, _K.GIVEN_UP, _K.DOUBTED} and event.generation not in self.tried:
            raise UntrueError(f"no worker of generation {event.generation} was ready or failed, and then {event}")
        if event.kind is _K.WANTED and wanted and max(wanted) not in over:
            raise UntrueError(f"rollout {max(wanted)} was not over, and then {event}")
        if event.kind is _K.WANTED:
            wanted.add(event.rollout or 0)
        elif event.rollout is not None and event.rollout not in wanted:
            raise UntrueError(f"nobody wanted rollout {event.rollout}, and then {event}")
        if event.kind is _K.PROMOTED:  # a generation may prove itself after its rollout was given up
            return
        if event.rollout is None:
            raise UntrueError(f"of which rollout? {event}")
        if event.kind is _K.DOUBTED:
            over.discard(event.rollout)
        elif event.rollout in over and event.kind not in _END | _PROBATION:  # judged later
            raise UntrueError(f"rollout {event.rollout} was over, and then {event}")
        if event.kind in _END:
            over.add(event.rollout)


def check_step(before: RolloutState, after: RolloutState) -> None:
    """Raises UntrueError if no rollout goes from one to the other."""
    if after not in AFTER[before]:
        raise UntrueError(f"a rollout went from {before} to {after}")


def check_end(events: Iterable[Event], seen: Iterable[Instance]) -> None:
    """The history, read to its end, knows the workers that are there, and no others. Raises UntrueError."""
    workers = Workers()
    for event in events:
        if event.kind.about is About.WORKER:
            workers.take(event)
    there = {instance.id.name: instance.state for instance in seen}
    for name in sorted({*workers.states, *there}):
        state = workers.states.get(name, "absent")
        right = _SEEN[there[name]] if name in there else {"absent"}
        if state not in right:
            raise UntrueError(f"{name} is {there.get(name, 'absent')}, and history has it as {state}")
