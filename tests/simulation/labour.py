"""The tasks of a universe's workers, in virtual time: who takes which message, how it ends, and what each accounts for.

Each worker counts with the tally of a real one, and its account is read as trapd reads it.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.simulation.universe import Universe
from tests.support.no_accounts import NoAccounts
from trapd.contracts import Asked
from trapd.errors import RefusedError
from trapd.model import InstanceId, InstanceState
from trapd.work import TaskCounts, TaskRun, Work
from trapd.worker.tally import Run, Tally

LEASE = 5.0  # s, A13
WATCH, SELDOM = 1.0, 20.0  # s between two looks for workers that are ready, with messages and without


@dataclass(frozen=True)
class Message:
    task: str
    root: str
    bad: bool = False  # an input on which any code fails


@dataclass
class _Worker:
    pid: int
    fingerprint: str
    abstains_until: float = 0.0
    tally: Tally = field(default_factory=Tally)
    held: deque[tuple[Message, Run]] = field(default_factory=deque)


@dataclass
class Labour(NoAccounts):
    """``pace``: tasks that a worker ends in a second, in the mean. ``breaks``: fingerprint -> tasks that this code
    always fails. ``messages``: None if there is none now; with their end none comes any more. ``turns``: s between two
    messages, which the broker gives to one worker after the other in turn, as it does where workers are idle; 0: each
    worker takes what it has room for. ``tasks``: that each code has registered, but those that it ``lacks``, whose
    messages its workers set aside."""

    universe: Universe
    messages: Iterator[Message | None]
    pace: float = 1.0
    prefetch: int = 4
    breaks: dict[str, set[str]] = field(default_factory=dict)
    on: bool = True  # are there messages?
    turns: float = 0.0
    tasks: Collection[str] = ()
    lacks: dict[str, set[str]] = field(default_factory=dict)
    set_aside: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: deque[Message] = field(default_factory=deque)  # and taken by nobody yet
    idle: set[InstanceId] = field(default_factory=set)
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)  # fingerprint and task
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = Random(self.universe.seed)
        self.workers: dict[InstanceId, _Worker] = {}
        self.universe.accounts = self
        self.universe.controller.accounts = self
        self._served = 0
        self._look()
        if self.turns:
            self._send()

    # --- the workers ---

    def _look(self) -> None:
        seen = {
            i.id: i for i in self.universe.backend.seen() if i.state in (InstanceState.READY, InstanceState.DRAINING)
        }
        for id in self.idle & self.workers.keys():
            self.idle.discard(id)
            self._next(id, self.workers[id])
        for id in [id for id, worker in self.workers.items() if id not in seen or seen[id].pid != worker.pid]:
            del self.workers[id]
        for id, instance in seen.items():
            if id not in self.workers and instance.state is InstanceState.READY:
                generation = self.universe.history.generations()[id.generation]
                assert instance.pid is not None
                self._register(id.generation)
                self.workers[id] = worker = _Worker(instance.pid, generation.fingerprint)
                self._next(id, worker)
        self.universe.at(WATCH if self.on else SELDOM, self._look, outlives=True)

    def _register(self, number: int) -> None:
        """What TaskContracts does once a worker has told the tasks of its generation."""
        controller = self.universe.controller
        known = controller.generations[number]
        if known.tasks is None and not self.universe.dead:
            names = set(self.tasks) - self.lacks.get(known.fingerprint, set())
            controller.save([], [], [replace(known, tasks=dict.fromkeys(names, ""))])

    def _next(self, id: InstanceId, worker: _Worker) -> None:
        """It takes messages for as many as it may hold, and works on the first of them."""
        current = self.universe.backend.get(id)
        if current is None or current.pid != worker.pid:
            return
        while not self.turns and self._has_room(id, worker):
            message = next(self.messages, None) if self.on else None
            if message is None:
                break
            self._give(worker, message)
        if not worker.held:
            self.idle.add(id)
            return
        delay = self.random.expovariate(self.pace)
        self.universe.at(delay, lambda: self._end(id, worker), outlives=True)

    def _has_room(self, id: InstanceId, worker: _Worker) -> bool:
        current = self.universe.backend.get(id)
        takes = current is not None and current.pid == worker.pid and current.state is InstanceState.READY
        return takes and len(worker.held) < self.prefetch and self.universe.clock.now() >= worker.abstains_until

    def _give(self, worker: _Worker, message: Message) -> None:
        if message.task in self.lacks.get(worker.fingerprint, ()):
            self.set_aside[worker.fingerprint, message.task] += 1
            return
        retrial = worker.tally.received(message.task)
        worker.held.append((message, Run(message.task, 0.0, 0.0, None, message.root, retrial)))

    def _send(self) -> None:
        """One more message, and whatever waits, to the workers in turn."""
        if self.on and (message := next(self.messages, None)) is not None:
            self.sent.append(message)
        while self.sent and (free := [i for i in sorted(self.workers) if self._has_room(i, self.workers[i])]):
            self._served += 1
            id = free[self._served % len(free)]
            self._give(self.workers[id], self.sent.popleft())
            if id in self.idle:
                self.idle.discard(id)
                self._next(id, self.workers[id])
        self.universe.at(self.turns, self._send, outlives=True)

    def _end(self, id: InstanceId, worker: _Worker) -> None:
        if self.workers.get(id) is not worker:
            return
        message, run = worker.held.popleft()
        worker.tally.started(message.root, run)
        self.ended[worker.fingerprint, message.task] += 1
        if message.bad or message.task in self.breaks.get(worker.fingerprint, ()):
            self.failed[worker.fingerprint, message.task] += 1
            worker.tally.failed(run, 1.0, "KeyError")
        else:
            worker.tally.succeeded(run, 1.0)
        self._next(id, worker)

    # --- their accounts ---

    async def work(
        self, instance: str, pid: int, retrials: Mapping[str, str] | None = None, *, abstain: bool = False
    ) -> Work:
        worker = self.workers.get(InstanceId.parse(instance))
        if worker is None or worker.pid != pid:
            return Work(unanswered="nobody there")
        if retrials is not None:
            worker.abstains_until = self.universe.clock.now() + LEASE if abstain else 0.0
        apart = {} if retrials is None else worker.tally.retrials(retrials)
        compared = worker.tally.compared()
        return Work(counts=_plain(worker.tally.counts()), retrials=_plain(apart), compared=_plain(compared))

    async def works(self, asked: Sequence[Asked]) -> Sequence[Work]:
        return [await self.work(one.instance, one.pid, one.retrials, abstain=one.abstain) for one in asked]

    async def poison(self, instance: str, pid: int, id: str, order: str) -> str:
        raise NotImplementedError

    async def end(self, instance: str, pid: int, id: str, *, now: bool) -> str:
        raise RefusedError("nobody ends a task here")

    async def registered(self, instance: str, pid: int) -> Mapping[str, str] | None:
        return None

    async def admit(self, instance: str, pid: int) -> bool:
        return False

    async def waiting(self, instance: str, pid: int, tasks: Sequence[str]) -> Mapping[str, int | None] | None:
        return None

    def written(self, instance: str, pid: int) -> Sequence[TaskRun]:
        return ()


def _plain(counts: Mapping[str, Any]) -> dict[str, TaskCounts]:
    plain = {name: one.plain() for name, one in counts.items()}
    return {name: TaskCounts(**one | {"latest": tuple(one["latest"])}) for name, one in plain.items()}


def stream(
    random: Random, tasks: Sequence[str], rate: float = 0.0, burst: Callable[[], bool] = lambda: False
) -> Iterator[Message]:
    """Messages without end, a share of them bad; where ``burst`` says so, 100 bad ones of one task in a row."""
    weights = [*itertools.accumulate(1 / rank for rank in range(1, len(tasks) + 1))]
    for number in itertools.count():
        (task,) = random.choices(tasks, cum_weights=weights)
        if burst():
            yield from (Message(task, f"burst-{number}-{one}", bad=True) for one in range(100))
        yield Message(task, str(number), random.random() < rate)
