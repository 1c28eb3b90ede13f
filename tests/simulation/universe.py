"""trapd's whole controller in virtual time, on fakes, with faults that a seed decides.

One universe is one machine: a backend, a history and a shelf of snapshots that outlive trapd, and a trapd that can be
killed at any call it makes on them. Events between them may be lost, repeated or late. After every call the safety
promises are checked; when all faults are over, ``settle`` checks that the pool arrives where it should.
"""

from __future__ import annotations

import contextlib
import heapq
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tests.simulation import chronicle
from tests.support.builders import application
from tests.support.fake_backend import Behaviour, FakeBackend
from tests.support.fake_gauge import FakeGauge
from tests.support.fake_history import FakeHistory
from tests.support.fake_snapshots import FakeSnapshots
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd.contracts import Accounts
from trapd.controller import Controller
from trapd.errors import BackendError, HistoryError, RefusedError
from trapd.event import Event
from trapd.generations.collect import removable
from trapd.model import (
    Disk,
    DiskState,
    FailureKind,
    Generation,
    Instance,
    InstanceId,
    InstanceState,
    Memory,
    Pin,
    PoolState,
)
from trapd.pins import Pins
from trapd.rollout import backoff, want
from trapd.rollout.budget import budget
from trapd.rollout.pin_begin import Later
from trapd.rollout.refusals import candidate, refusal
from trapd.rollout.world import wanted_workers
from trapd.spec import PoolSpec
from trapd.triggers import Triggers

T = TypeVar("T")
POOL = "p"
FAILURES = (FailureKind.CRASH, FailureKind.CODE, FailureKind.TIMEOUT)


class Killed(BaseException):
    """SIGKILL: nothing may catch it."""


class BrokenPromiseError(AssertionError):
    pass


def now_or_never(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for: on fakes, every pass is one step of the simulation."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        returned: T = end.value
        return returned
    raise AssertionError("a pass waited for something that is not simulated")


@dataclass
class Universe:
    spec: PoolSpec
    seed: int = 0
    lossy: float = 0.0  # share of events that never arrive
    orphans_drain: bool = False  # the embedded backend: when trapd dies its workers drain
    behaviours: dict[str, Behaviour] = field(default_factory=dict)  # fingerprint -> how its workers behave
    other: PoolSpec | None = None  # a second pool, on the same generations
    others: dict[str, Behaviour] = field(default_factory=dict)  # how they behave there, where that is different
    story: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)  # how it came to rest, in a word or two

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.chances = random.Random(self.seed + 1)  # of runs: lives without any go on as they did
        self.runs: dict[str, str] = {}  # pins by id -> the code that they hold
        self.application = application()
        self.clock = VirtualClock()
        self.backend = FakeBackend(self.clock)
        self.gauge = FakeGauge(self.backend)
        self.history: FakeHistory = _Watched()
        self.accounts: Accounts = NO_ACCOUNTS  # its workers do not answer
        self.snapshots = FakeSnapshots()
        self.disk = Disk(DiskState.CHANGING)
        self.outage = False
        self.kill_in: int | None = None  # calls on the world until trapd is killed
        self.kills = 0
        self.rejected: set[str] = set()
        self._due: list[tuple[float, int, bool, Callable[[], None]]] = []
        self._order = 0
        self._timers: dict[str, int] = {}  # pool -> number of its latest pass
        self._stands_until = 0.0
        self._look_number = 0
        self.boot()

    # -- trapd's life ----------------------------------------------------------------------------------------------

    def boot(self) -> None:
        self.dead = False
        self.backend.on_change = self._event
        self.controller = Controller(
            self.specs,
            backend=_Backend(self),
            snapshots=_Calls(self, self.snapshots, ("make", "copy", "remove")),
            history=_Calls(self, self.history, ("save", "next_generation", "next_rollout", "drop_generations")),
            clock=self.clock,
            gauge=self.gauge,
            collect=removable,
            accounts=self.accounts,
            application=self.application,
        )
        self.triggers = Triggers(self.controller)
        self.pins = Pins(self.controller, self.triggers)
        self.triggers.compare(self.backend.seen())
        self._pass_all()
        self.at(0, self._first_look)
        for state in list(self.controller.states.values()):
            for held in state.pins:
                self.at(self.chances.choice((1.0, 30.0, 90.0)), lambda p=state.pool, i=held.id: self._take_up(p, i))  # type: ignore[misc]
        self._look_at_pins()

    @property
    def specs(self) -> list[PoolSpec]:
        return [self.spec, *([self.other] if self.other else [])]

    def spec_of(self, pool: str) -> PoolSpec:
        return next(spec for spec in self.specs if spec.name == pool)

    def seen(self, pool: str) -> list[Instance]:
        return [instance for instance in self.backend.seen() if instance.id.pool == pool]

    def die(self) -> None:
        self.kills += 1
        self.dead = True
        self.kill_in = None
        self.say("trapd was killed")
        self.backend.on_change = lambda pool: None  # nobody hears anything until the next one boots
        self._due = [entry for entry in self._due if entry[2]]
        heapq.heapify(self._due)
        if self.orphans_drain:
            self.backend.lose_owner()
        self.at(self.random.choice((0.0, 1.0, 30.0)), self.boot_again, outlives=True)

    def boot_again(self) -> None:
        """After a while, or sooner if somebody wants something of it."""
        if self.dead:
            self.boot()

    def reboot(self, *started: InstanceId) -> None:
        """The power was cut: nothing runs but what the machine has ``started``, and CLOCK_MONOTONIC begins anew."""
        self.say("reboot")
        self._due.clear()
        self.backend._runs.clear()
        self.clock = self.backend.clock = VirtualClock(10.0)
        for id in started:
            self.backend.exceptions[id] = self.behaviour(id)
            now_or_never(self.backend.start(id))
        self.boot()

    def call(self, name: str) -> None:
        """trapd is about to act on the world, or has just done so."""
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in <= 0:
                raise Killed(name)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        try:
            return now_or_never(coroutine)
        except Killed:
            self.die()
            return None

    def _tell(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            self._run(coroutine)
        except RefusedError as refusal:
            self.say(f"refused: {refusal}")
        if not self.dead:
            self._pass_all()

    def _first_look(self) -> None:
        """A watch that has just begun knows no change, so it takes no installer's word for one."""
        disk = self.disk
        if disk.state is DiskState.TENTATIVE:
            disk = Disk(DiskState.CHANGING, "files were written a moment ago")
        self._look(disk)

    def _look(self, seen: Disk | None = None) -> None:
        """The watch tells what is installed, and looks again later if that could not be written down."""
        self.boot_again()
        try:
            self._tell(self.triggers.disk_changed(seen or self.disk))
        except HistoryError as error:
            self.say(f"not noted: {error}")
            self.at(30.0, self._look)

    # -- time ------------------------------------------------------------------------------------------------------

    def at(self, delay: float, what: Callable[[], None], *, outlives: bool = False) -> None:
        """Do it then. What trapd meant to do dies with it; what the world does ``outlives`` it."""
        self._order += 1
        heapq.heappush(self._due, (self.clock.now() + delay, self._order, outlives, what))

    def run(self, seconds: float) -> None:
        """Let the time pass."""
        end = self.clock.now() + seconds
        steps = 0
        while self.next_at() <= end:
            self.tick()
            steps += 1
            if steps > 50_000:
                raise BrokenPromiseError(f"trapd spins: {steps} steps in {seconds} s")
        self.clock.move_to(end)

    def next_at(self) -> float:
        """When the next thing happens, at the latest in a day."""
        return min(self._due[0][0] if self._due else self.clock.now() + 86400.0, self.backend.next_at())

    def tick(self) -> None:
        """Let the next thing happen."""
        self.clock.move_to(max(self.clock.now(), self.next_at()))
        self.backend.advance(self.clock.now())
        if self._due and self._due[0][0] <= self.clock.now():
            _, _, outlives, what = heapq.heappop(self._due)
            if self.clock.now() < self._stands_until and not outlives:
                self.at(self._stands_until - self.clock.now(), what)
            else:
                what()

    def stand_still(self, seconds: float, *, workers: bool = False) -> None:
        """trapd is stopped for so long, and its workers with it or not; then it goes on, and notices."""
        self.say(f"trapd stands still for {seconds:g} s, its workers too: {workers}")
        if workers:
            self.backend.stand_still(seconds)
        self._stands_until = self.clock.now() + seconds
        self.at(0, self._go_on)

    def _go_on(self) -> None:
        if not self.dead:  # else it is the next trapd that passes, when it boots
            self.controller.stood_still()
            self._pass_all()

    def say(self, line: str) -> None:
        self.story.append(f"{self.clock.now() - 1000:9.2f}  {line}")

    def _event(self, pool: str) -> None:
        if self.random.random() < self.lossy:
            return
        for _ in range(1 + (self.random.random() < self.lossy)):
            self.at(self.random.choice((0.0, 0.0, 0.01, 2.0)) if self.lossy else 0.0, lambda: self._pass(pool))

    def _pass_all(self) -> None:
        for spec in self.specs:
            self.at(0, lambda pool=spec.name: self._pass(pool))  # type: ignore[misc]

    def _pass(self, pool: str = POOL) -> None:
        wake_at = self._run(self.controller.step(pool))
        # a later pass sets a timer of its own, as the loop does
        mine = self._timers[pool] = self._timers.get(pool, 0) + 1
        if wake_at is not None:
            delay = max(0.0, wake_at - self.clock.now())
            self.at(delay, lambda: self._pass(pool) if mine == self._timers[pool] else None)

    # -- what people and the machine do ----------------------------------------------------------------------------

    def install(
        self, fingerprint: str, behaviour: Behaviour, other: Behaviour | None = None, *, quiet: float = 0.0
    ) -> None:
        """``other``: how it behaves in the other pool, if differently. ``quiet``: an installer says that it is whole,
        and so many seconds later it settles, unless somebody changes it."""
        self.say(f"installed {fingerprint}: {behaviour}" + (f"; in the other pool: {other}" if other else ""))
        self.behaviours[fingerprint] = behaviour
        if other:
            self.others[fingerprint] = other
        state = DiskState.TENTATIVE if quiet else DiskState.SETTLED
        self.disk = installed = Disk(state, fingerprint=fingerprint, versions={"pkg": fingerprint})
        self._look()
        if quiet:
            self.at(quiet, lambda: self._settle(installed), outlives=True)

    def change(self, reason: str, state: DiskState = DiskState.CHANGING) -> None:
        """Somebody is at work on the disk again, or left it broken."""
        self.say(f"the disk is {state}: {reason}")
        self.disk = Disk(state, reason)
        self._look()

    def _settle(self, installed: Disk) -> None:
        if self.disk is installed:
            self.say("the quiet period is over")
            self.disk = replace(installed, state=DiskState.SETTLED)
            if not self.dead:
                self._look()

    def reload(self, *, app: str = "trap.app:app", pool: str = POOL, **settings: Any) -> None:
        """Somebody changes the pool's settings, or what is started."""
        self.boot_again()
        self.say(f"reload: {app} {pool} {settings}")
        self.application = application(app)
        if pool == POOL:
            self.spec = replace(self.spec, **settings)
        else:
            self.other = replace(self.spec_of(pool), **settings)
        self._tell(self.triggers.reconfigure(self.specs, application=self.application))

    def order(self, name: str, *args: object, **more: object) -> None:
        self.boot_again()
        self.say(f"order: {name} {args or ''}")
        verb = getattr(self.triggers, name)
        self._tell(verb(*args, actor="somebody", **more))

    def begin_run(self, pool: str, seconds: float) -> None:
        """Somebody's run pins the code of the pool for so long, if that may be now."""
        self.boot_again()
        begun: Mapping[str, Pin] | Later | None = None
        with contextlib.suppress(HistoryError):
            begun = self._run(self.pins.begin([pool], actor="somebody", reason="run"))
        if isinstance(begun, Mapping):
            held = begun[pool]
            self.say(f"{pool} is pinned for {seconds:g} s on generation {held.generation}")
            self.runs[held.id] = self.history.generations()[held.generation].fingerprint
            self.at(seconds, lambda: self._end_run(pool, held.id), outlives=True)
        self._look_at_pins()

    def _end_run(self, pool: str, id: str) -> None:
        self.say(f"a run in {pool} has ended")
        if not self.dead:  # else nobody takes the pin up
            self.pins.give_up(pool, id, "its run has ended")
            self._look_at_pins()
        self.runs.pop(id)

    def _take_up(self, pool: str, id: str) -> None:
        if id in self.runs:
            with contextlib.suppress(RefusedError):
                self._run(self.pins.take_up(pool, id, actor="somebody"))

    def _look_at_pins(self) -> None:
        """What its loop does, whenever anything has changed."""
        if not self.dead:
            mine = self._look_number = self._look_number + 1
            wait = self._run(self.pins._pass())
            if wait is not None:
                self.at(wait, lambda: self._look_at_pins() if mine == self._look_number else None)

    def behaviour(self, id: InstanceId) -> Behaviour:
        if self.outage:
            return Behaviour(start=1.0, failure=self.random.choice(FAILURES))
        generation = self.history.generations().get(id.generation)
        fingerprint = generation.fingerprint if generation else ""
        usual = self.behaviours.get(fingerprint, Behaviour())
        return usual if id.pool == POOL else self.others.get(fingerprint, usual)

    # -- promises --------------------------------------------------------------------------------------------------

    @property
    def wanted_workers(self) -> int:
        return self.workers_of(POOL)

    def workers_of(self, pool: str) -> int:
        if pool not in self.controller.specs:
            return 0
        return wanted_workers(self.spec_of(pool), self.controller.state(pool))

    def check_start(self, id: InstanceId) -> None:
        spec = self.spec_of(id.pool)
        live = [i for i in self.seen(id.pool) if i.state is not InstanceState.FAILED and i.id != id]
        wanted = self.workers_of(id.pool)
        latest = self.controller.state(id.pool).rollout
        retrial = latest is not None and any(not retrial.over for retrial in latest.retrials)
        if len(live) + 1 > budget(spec, wanted, sized=self.gauge.capacity is not None, retrial=retrial).ceiling:
            raise BrokenPromiseError(f"starting {id} would make {len(live) + 1} workers alive: {_names(live)}")
        if len(live) + 1 > wanted and self.gauge.left() < 1:
            raise BrokenPromiseError(f"starting {id} beside {_names(live)}: there is no memory for it")
        if spec.singleton and live:
            raise BrokenPromiseError(f"starting {id} beside {_names(live)}: a singleton is never two")
        if id.generation not in self.snapshots.present():
            raise BrokenPromiseError(f"starting {id} without its snapshot")
        if self.controller.stopping:
            raise BrokenPromiseError(f"starting {id} while stopping")
        for held in self.controller.state(id.pool).pins:
            code, holds = self.history.generations()[id.generation].fingerprint, self.runs.get(held.id)
            if holds is not None and holds != code:
                raise BrokenPromiseError(f"starting {id} of {code}, while a run holds {holds}")
        known = any(event.kind == "started" for event in self.history.events(instance=id.name, limit=5))
        if not known and self.history.failure is None:
            raise BrokenPromiseError(f"starting {id}, of which history knows nothing")

    def check_drain(self, id: InstanceId) -> None:
        victim, state = self.backend.get(id), self.controller.state(id.pool)
        if victim is None or self.controller.stopping:
            return
        if id.name in {order.worker for order in state.drained}:
            return  # a person may do that at any time
        ordered = self.workers_of(id.pool) == 0
        if want.is_tentative(state) and id.generation != state.wanted and not ordered:
            raise BrokenPromiseError(f"draining {id} before the quiet period is over")
        if victim.state is not InstanceState.READY:
            return
        serving = [i for i in self.seen(id.pool) if i.state is InstanceState.READY and i.id != id]
        if len(serving) < budget(self.spec_of(id.pool), self.workers_of(id.pool)).floor:
            raise BrokenPromiseError(f"draining {id} leaves only {_names(serving)} ready")

    def check_removal(self, number: int) -> None:
        for pool, state in self.history.pools().items():
            halves = () if state.apart is None else (state.apart.whole, state.apart.half)
            needed = {state.wanted, *state.good, *halves, *(instance.id.generation for instance in self.seen(pool))}
            if number in needed:
                raise BrokenPromiseError(f"removing generation {number}, which {pool} needs")

    def settle(self, fingerprint: str, seconds: float = 4 * 3600.0) -> None:
        """With all faults over, everything must come to rest on this code. Raises BrokenPromiseError otherwise."""
        self.run(seconds)
        for spec in self.specs:
            generation = self.wanted(spec.name)
            if generation is None or generation.fingerprint != fingerprint:
                raise BrokenPromiseError(f"{spec.name} wants {generation}, not {fingerprint}")
            self.check_rest(spec.name)

    def wanted(self, pool: str = POOL) -> Generation | None:
        return self.history.generations().get(self.controller.state(pool).wanted or 0)

    def check_rest(self, pool: str = POOL) -> None:
        """Everything wanted is ready on the wanted generation, nothing else runs, and nothing is about to happen."""
        state, wanted = self.controller.state(pool), self.workers_of(pool)
        view = now_or_never(self.controller.observe(pool))
        if view.actions or view.waiting:
            raise BrokenPromiseError(f"is not at rest: {list(map(str, view.actions))} {view.waiting}")
        seen = self.seen(pool)
        if len(seen) != wanted or any(i.state is not InstanceState.READY for i in seen):
            raise BrokenPromiseError(f"wanted {wanted} ready workers, there are {_names(seen)}")
        if any(i.id.generation != state.wanted for i in seen):
            raise BrokenPromiseError(f"wanted generation {state.wanted}, there are {_names(seen)}")
        if state.rollout is None or not state.rollout.state.over:
            raise BrokenPromiseError(f"the rollout is not over: {state.rollout}")
        if again := self.starts_in_an_hour(pool):
            raise BrokenPromiseError(f"goes on starting workers: {again}")

    def starts_in_an_hour(self, pool: str) -> list[InstanceId]:
        began = len(self.backend.started)
        self.run(3600.0)
        return [id for id in self.backend.started[began:] if id.pool == pool]

    def check_pace(self, pool: str = POOL) -> None:
        """What cannot start is tried again and again, but slowly."""
        tries, slowest = len(self.starts_in_an_hour(pool)), backoff.CEILING * (1 - backoff.JITTER)
        if tries > budget(self.spec_of(pool), self.workers_of(pool)).ceiling * (3600 / slowest + 1):
            raise BrokenPromiseError(f"{tries} starts in an hour")

    def check_history(self) -> None:
        """What happened was told, in an order in which it can have happened. At rest history knows who is there."""
        for spec in self.specs:
            now_or_never(self.controller.step(spec.name))  # what happened last may not have been heard of
        told = self.history.events(limit=1_000_000)
        chronicle.check(told)
        chronicle.check_end(told, self.backend.seen())

    def check_settings(self, pool: str = POOL) -> None:
        """What runs has the settings in force, unless these were refused."""
        generation, state = self.wanted(pool), self.controller.state(pool)
        if generation is None:
            return
        launch = want.launch_digest(self.spec_of(pool), generation.application)
        if generation.launch[pool] == launch:
            return
        if refusal(state, replace(candidate(generation, pool), launch=launch)) is None:
            raise BrokenPromiseError(
                f"generation {generation.number} has other settings for {pool} than those in force"
            )


def _names(instances: Any) -> list[str]:
    return [f"{i.id}:{i.state}" for i in instances]


class _Watched(FakeHistory):
    """Checks that each rollout goes from phase to phase as docs/states.md says."""

    def save(self, *, pools: Iterable[PoolState] = (), **more: Any) -> Sequence[Event]:
        pools = list(pools)
        for rollout in (state.rollout for state in pools if state.rollout is not None):
            before = self.rollout(rollout.id)
            if before is not None and rollout.state is not before.state and self.failure is None:
                chronicle.check_step(before.state, rollout.state)
        return super().save(pools=pools, **more)


class _Calls:
    """A contract whose acting methods can be the last thing that trapd does: just before, or just after."""

    def __init__(self, universe: Universe, inner: Any, acting: tuple[str, ...]) -> None:
        self._universe, self._inner, self._acting = universe, inner, acting

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._acting:
            return method

        def call(*args: Any, **more: Any) -> Any:
            self._universe.call(f"before {name}")
            if name == "remove":
                self._universe.check_removal(*args)
            result = method(*args, **more)
            if not isinstance(result, Coroutine):
                self._universe.call(f"after {name}")
                return result

            async def finish() -> Any:
                value = await result
                self._universe.call(f"after {name}")
                return value

            return finish()

        return call


class _Backend:
    """The backend as trapd sees it: each order is checked against the promises before it is obeyed."""

    def __init__(self, universe: Universe) -> None:
        self._universe, self._inner = universe, universe.backend

    async def observe(self) -> tuple[Instance, ...]:
        return self._inner.seen()

    async def memory(self) -> Mapping[InstanceId, Memory]:
        return await self._inner.memory()

    async def start(self, id: InstanceId) -> None:
        universe = self._universe
        universe.call("before start")
        universe.check_start(id)
        if universe.lossy and universe.random.random() < universe.lossy / 4:
            raise BackendError(f"cannot start {id}: the bus is away")
        self._inner.exceptions[id] = universe.behaviour(id)
        universe.say(f"start {id}")
        await self._inner.start(id)
        universe.call("after start")

    async def drain(self, id: InstanceId) -> None:
        self._universe.call("before drain")
        self._universe.check_drain(id)
        self._universe.say(f"drain {id}")
        await self._inner.drain(id)
        self._universe.call("after drain")

    async def interrupt(self, id: InstanceId) -> bool:
        self._universe.call("before interrupt")
        told = await self._inner.interrupt(id)
        self._universe.call("after interrupt")
        return told

    async def kill(self, id: InstanceId) -> None:
        self._universe.call("before kill")
        await self._inner.kill(id)
        self._universe.call("after kill")

    async def forget(self, id: InstanceId) -> None:
        self._universe.call("before forget")
        await self._inner.forget(id)
        self._universe.call("after forget")
