"""A backend in virtual time for the simulation: deterministic, without a loop, and held to the same suite as the real
ones (tests/contract/test_backend.py).

Nothing happens by itself: the owner moves the clock, then calls ``advance(now)``; ``next_at()`` says what is due when.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from trapd.backend.words import ailment, hangs_on, silence
from trapd.contracts import STOP_TIME, fresh_after
from trapd.model import Ailment, CodeReport, Failure, FailureKind, Instance, InstanceId, InstanceState, Memory

NEVER = math.inf
MEBIBYTE = 1 << 20  # what each worker uses

_SUMMARY = {
    FailureKind.CODE: "ImportError: broken on purpose",
    FailureKind.TIMEOUT: "did not send READY in time",
    FailureKind.WATCHDOG: "its main loop stopped turning",
    FailureKind.CRASH: "exited with status 1",
}


class HasNow(Protocol):
    def now(self) -> float: ...


@dataclass(frozen=True)
class Behaviour:
    """How the instances of a generation behave. Times in seconds of virtual time; NEVER: it does not happen."""

    start: float = 1.0  # until READY, or until the start fails
    failure: FailureKind | None = None  # the start ends with this instead of READY
    crash_after: float = NEVER  # after READY
    turns_for: float = NEVER  # after READY; then its main loop stands still, until the watchdog ends it
    status: str = ""  # what it says of itself once it is ready
    crash: FailureKind = FailureKind.CRASH  # what that crash looks like
    drain: float = 0.5  # until a drained instance is gone
    drain_status: int = 0  # with which exit status
    prolongs: bool = True  # gives signs of life while it drains
    active_tasks: int = 0
    heeds: float = NEVER  # from the interruption of its drain until it is gone; NEVER: its Celery pool has no processes
    strays: tuple[str, ...] = ()
    dying: float = 0.0  # between its end and the word of how it ended: stopping meanwhile
    words: str = "the last words"  # the detail of its failures
    summary: str = ""  # of its failures; empty: one that fits the kind
    digest: str = ""  # in its code report; empty: made from the generation's number


@dataclass
class _Run:
    instance: Instance
    behaviour: Behaviour
    due: float = NEVER  # when it changes by itself
    doom: tuple[FailureKind, str] | None = None  # how it ended, once that may be known
    hung: bool = False  # its drain will be ended

    def alive_at(self, now: float) -> float:
        """When its main loop last turned, of a ready one."""
        assert self.instance.ready_at is not None
        return min(now, self.instance.ready_at + self.behaviour.turns_for)

    def failures(self, now: float) -> int:
        """B9: a run that stayed well for long enough starts the count again."""
        if self.instance.ready_at is None:
            return self.instance.failures
        fresh = self.alive_at(now) - self.instance.ready_at >= fresh_after(self.instance.failure)
        return 0 if fresh else self.instance.failures


@dataclass
class FakeBackend:
    """Keeps contracts B1 to B15. ``on_change`` may be replaced at any time (a new owner after a crash of the old)."""

    clock: HasNow
    on_change: Callable[[str], None] = lambda pool: None
    behaviours: dict[int, Behaviour] = field(default_factory=dict)  # generation -> behaviour
    exceptions: dict[InstanceId, Behaviour] = field(default_factory=dict)  # for one instance, before its generation's
    versions: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    started: list[InstanceId] = field(default_factory=list)  # every run, in order
    interrupted: list[InstanceId] = field(default_factory=list)
    watchdog: float = 60.0
    stop_time: float = STOP_TIME

    def __post_init__(self) -> None:
        self._runs: dict[InstanceId, _Run] = {}
        self._pids = 1000
        self._awake_since = 0.0

    # -- the contract ----------------------------------------------------------------------------------------------

    async def observe(self) -> tuple[Instance, ...]:
        return self.seen()

    async def start(self, id: InstanceId) -> None:
        old = self._runs.get(id)
        if old and old.instance.state is not InstanceState.FAILED:
            return
        now = self.clock.now()
        self._pids += 1
        self.started.append(id)
        failures, failure = (old.instance.failures, old.instance.failure) if old else (0, None)
        fresh = Instance(id, InstanceState.STARTING, now, pid=self._pids, failures=failures, failure=failure)
        behaviour = self.exceptions.get(id) or self.behaviours.get(id.generation) or Behaviour()
        self._runs[id] = _Run(fresh, behaviour, now + behaviour.start)
        self.on_change(id.pool)

    async def drain(self, id: InstanceId) -> None:
        run = self._runs.get(id)
        if run and run.instance.state in (InstanceState.STARTING, InstanceState.READY):
            self._drain(run)

    async def interrupt(self, id: InstanceId) -> bool:
        run = self._runs.get(id)
        if run is None or run.instance.state is not InstanceState.DRAINING or run.behaviour.heeds == NEVER:
            return False
        self.interrupted.append(id)
        run.due = min(run.due, self.clock.now() + run.behaviour.heeds)
        return True

    async def kill(self, id: InstanceId) -> None:
        run = self._runs.get(id)
        if run is None or run.instance.state is InstanceState.FAILED:
            return
        now = self.clock.now()
        if run.instance.state is InstanceState.DRAINING:
            self._gone(run)
        else:
            self._failed(run, FailureKind.CRASH, "killed", now)

    async def forget(self, id: InstanceId) -> None:
        run = self._runs.get(id)
        if run and run.instance.state is InstanceState.FAILED:
            self._gone(run)

    async def memory(self) -> Mapping[InstanceId, Memory]:
        return {id: Memory(MEBIBYTE) for id, run in self._runs.items() if run.instance.pid is not None}

    # -- what a simulation does to it ------------------------------------------------------------------------------

    def seen(self) -> tuple[Instance, ...]:
        return tuple(self._view(self._runs[id]) for id in sorted(self._runs))

    def _view(self, run: _Run) -> Instance:
        instance, now, ill = run.instance, self.clock.now(), None
        if instance.state is InstanceState.READY:
            alive_at = run.alive_at(now)
            silent = now - max(alive_at, self._awake_since) > silence(self.watchdog)
            ill = Ailment.SILENT if silent else ailment(instance.status)
            instance = replace(instance, alive_at=alive_at, failures=run.failures(now))
        return replace(instance, ailment=ill)

    def behave(self, id: InstanceId, behaviour: Behaviour) -> None:
        """From now on, in what it does next."""
        self._runs[id].behaviour = behaviour

    def say(self, id: InstanceId, status: str) -> None:
        """A ready one says this of itself from now on."""
        self._runs[id].instance = replace(self._runs[id].instance, status=status)
        self.on_change(id.pool)

    def get(self, id: InstanceId) -> Instance | None:
        return next((instance for instance in self.seen() if instance.id == id), None)

    def stand_still(self, seconds: float) -> None:
        """Whoever judges the workers stands still for so long from now on, and so do they: nothing is due (B13)."""
        self._awake_since = self.clock.now() + seconds
        for run in self._runs.values():
            run.due += seconds

    def next_at(self) -> float:
        """When the next change is due; NEVER if nothing changes by itself."""
        return min((run.due for run in self._runs.values()), default=NEVER)

    def advance(self, now: float) -> None:
        """Let everything happen that is due up to ``now``, in order of time, then of name."""
        while self.next_at() <= now:
            self._happen(min(self._runs.values(), key=lambda run: (run.due, run.instance.id)))

    def crash(self, id: InstanceId, kind: FailureKind = FailureKind.CRASH, summary: str = "") -> None:
        """It dies now, whatever it was doing; nothing if it does not run."""
        run = self._runs.get(id)
        if run and run.instance.state is not InstanceState.FAILED:
            self._failed(run, kind, summary or _SUMMARY[kind], self.clock.now())

    def go_on(self, id: InstanceId) -> None:
        """A starting one is ready now, a draining one is done."""
        run = self._runs[id]
        run.behaviour, run.due, run.hung = replace(run.behaviour, failure=None), self.clock.now(), False
        self._happen(run)

    def lose_owner(self) -> None:
        """trapd died: as with the embedded backend, whatever runs is told to drain, and failures are not remembered."""
        for run in [self._runs[id] for id in sorted(self._runs)]:
            if run.instance.state is InstanceState.FAILED:
                del self._runs[run.instance.id]
            elif run.instance.state is not InstanceState.DRAINING:
                self._drain(run)

    # -- how it moves ----------------------------------------------------------------------------------------------

    def _happen(self, run: _Run) -> None:
        now, behaviour = run.due, run.behaviour
        match run.instance.state:
            case InstanceState.STARTING if behaviour.failure:
                self._failed(run, behaviour.failure, behaviour.summary or _SUMMARY[behaviour.failure], now)
            case InstanceState.STARTING:
                self._ready(run, now)
            case InstanceState.READY:
                kind = FailureKind.WATCHDOG if behaviour.turns_for < behaviour.crash_after else behaviour.crash
                self._failed(run, kind, behaviour.summary or _SUMMARY[kind], now)
            case InstanceState.DRAINING if run.hung:
                run.due = now + 0.01
                self._set(run, state=InstanceState.STOPPING, since=now, status=hangs_on(self.stop_time))
            case InstanceState.DRAINING if behaviour.drain_status:
                self._failed(run, FailureKind.CRASH, f"exited with status {behaviour.drain_status}", now)
            case InstanceState.DRAINING:
                self._gone(run)
            case InstanceState.STOPPING if run.doom:
                self._failed(run, *run.doom, now)
            case InstanceState.STOPPING:
                self._gone(run)
            case state:
                raise AssertionError(f"nothing is due in state {state}")

    def _ready(self, run: _Run, now: float) -> None:
        behaviour, generation = run.behaviour, run.instance.id.generation
        report = CodeReport(
            generation,
            behaviour.digest or f"digest-{generation}",
            self.versions.get(generation, {}),
            behaviour.strays,
        )
        run.due = now + min(behaviour.crash_after, behaviour.turns_for + (self.watchdog or NEVER))
        self._set(
            run, state=InstanceState.READY, since=now, ready_at=now, report=report, status=behaviour.status or "ready"
        )

    def _drain(self, run: _Run) -> None:
        now = self.clock.now()
        run.hung = not run.behaviour.prolongs and run.behaviour.drain > self.stop_time
        run.due = now + (self.stop_time if run.hung else run.behaviour.drain)
        self._set(run, state=InstanceState.DRAINING, since=now)

    def _failed(self, run: _Run, kind: FailureKind, summary: str, now: float) -> None:
        if run.behaviour.dying and run.instance.state is not InstanceState.STOPPING:
            run.doom, run.due = (kind, summary), now + run.behaviour.dying
            self._set(run, state=InstanceState.STOPPING, since=now)
            return
        failures = run.failures(now) + 1
        run.due = NEVER
        failure = Failure(kind, summary, run.behaviour.words, now, was_ready=run.instance.ready_at is not None)
        run.instance = replace(run.instance, failures=failures, failure=failure, pid=None, ready_at=None)
        self._set(run, state=InstanceState.FAILED, since=now, active_tasks=None)

    def _gone(self, run: _Run) -> None:
        del self._runs[run.instance.id]
        self.on_change(run.instance.id.pool)

    def _set(self, run: _Run, *, state: InstanceState, since: float, **changes: object) -> None:
        tasks = None if state is InstanceState.FAILED else run.behaviour.active_tasks
        run.instance = replace(run.instance, state=state, since=since, **{"active_tasks": tasks, **changes})  # type: ignore[arg-type]
        self.on_change(run.instance.id.pool)
