"""A history in memory: passes tests/contract/test_history.py, costs next to nothing, and may be deep-copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from trapd.contracts import History
from trapd.event import Event, EventKind
from trapd.model import Generation, PoolState, Rollout
from trapd.put_off import PutOff

_NO_NOTES: Mapping[str, str] = {}


class FakeHistory(History):
    """Outlives the trapd that it is given to, as a file would: hand it to the next one to simulate a restart.

    ``failure``, while set, is raised by ``save``: the disk is full.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self._last_generation = self._last_rollout = self._last_event = 0
        self._generations: dict[int, Generation] = {}
        self._pools: dict[str, PoolState] = {}
        self._rollouts: dict[int, Rollout] = {}
        self._events: list[Event] = []
        self._notes: dict[str, str] = {}
        self._put_off = PutOff()

    def next_generation(self) -> int:
        self._last_generation += 1
        return self._last_generation

    def last_generation(self) -> int:
        return self._last_generation

    def next_rollout(self) -> int:
        self._last_rollout += 1
        return self._last_rollout

    def generations(self) -> Mapping[int, Generation]:
        return dict(sorted(self._generations.items()))

    def pools(self) -> Mapping[str, PoolState]:
        return dict(sorted(self._pools.items()))

    def rollouts(self, pool: str | None = None, limit: int = 20) -> Sequence[Rollout]:
        newest_first = (self._rollouts[id] for id in sorted(self._rollouts, reverse=True))
        return [rollout for rollout in newest_first if pool in (None, rollout.pool)][: max(limit, 0)]

    def rollout(self, id: int) -> Rollout | None:
        return self._rollouts.get(id)

    def events(
        self,
        *,
        pool: str | None = None,
        rollout: int | None = None,
        generation: int | None = None,
        instance: str | None = None,
        kind: EventKind | None = None,
        since: int | None = None,
        limit: int = 100,
    ) -> Sequence[Event]:
        found = (
            event
            for event in (reversed(self._events) if since is None else self._events)
            if pool in (None, event.pool)
            and rollout in (None, event.rollout)
            and generation in (None, event.generation)
            and instance in (None, event.instance)
            and kind in (None, event.kind)
            and event.id > (since or 0)
        )
        latest = list(islice(found, max(limit, 0)))
        wanted = {"pool": pool, "rollout": rollout, "generation": generation, "instance": instance, "kind": kind}
        return self._put_off.after(latest[::-1] if since is None else latest, wanted, since, max(limit, 0))

    def note(self, name: str) -> str:
        return self._notes.get(name, "")

    def unfinished(self) -> Sequence[Event]:
        told = dict[str, list[Event]]()
        for event in self._events:
            if event.instance is not None and not event.kind.reported:
                told.setdefault(event.instance, []).append(event)
        found = dict[int, Event]()
        for mine in told.values():
            following = [*(event.kind for event in mine[1:]), None]
            real = [e for e, then in zip(mine, following, strict=True) if EventKind.ERROR not in (e.kind, then)]
            if real and not real[-1].kind.over:
                told_itself = [e for e in self._events if e.instance == mine[0].instance and e.kind.reported]
                latest = {event.kind: event for event in told_itself}.values()
                last = [real[-1], *[event for event in mine if event.kind.failure][-1:], *latest]
                found |= {event.id: event for event in last}
        return [found[id] for id in sorted(found)]

    def failures(self, instance: str) -> tuple[int, Event | None]:
        mine = [event for event in self._events if event.instance == instance]
        over = max((event.id for event in mine if event.kind.over), default=0)
        failed = [event for event in mine if event.kind.failure and event.id > over]
        return len(failed), failed[-1] if failed else None

    def save(
        self,
        *,
        pools: Iterable[PoolState] = (),
        generations: Iterable[Generation] = (),
        events: Iterable[Event] = (),
        notes: Mapping[str, str] = _NO_NOTES,
    ) -> Sequence[Event]:
        if self.failure is not None:
            raise self.failure
        before = self._put_off.waiting
        new_generations, new_pools, new_events = tuple(generations), tuple(pools), (*before, *events)  # may raise: J2
        saved = [replace(event, id=id) for id, event in enumerate(new_events, self._last_event + 1)]
        self._last_event += len(saved)
        self._generations |= {generation.number: generation for generation in new_generations}
        self._pools |= {state.pool: state for state in new_pools}
        self._rollouts |= {state.rollout.id: state.rollout for state in new_pools if state.rollout}
        self._events += saved
        self._notes |= notes
        self._put_off = PutOff()
        return saved[len(before) :]

    def put_off(self, events: Iterable[Event]) -> None:
        self._put_off.add(events, self._last_event)

    def drop_generations(self, numbers: Iterable[int]) -> None:
        for number in tuple(numbers):
            self._generations.pop(number, None)
