"""The loop: wake, observe, plan, apply, record. One task for each pool; a pool's passes never overlap.

Triggers (``disk_changed``, ``recycle``, ``undo``, ``scale``, ... of trapd/triggers.py) change only what is wanted and
wake the pool; events change nothing at all and wake it too. So a missed event costs time, never correctness.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from trapd import asking, removal
from trapd.apply import Orders
from trapd.contracts import STANDSTILL, Accounts, Backend, Clock, Cost, History, MemoryGauge, Snapshots
from trapd.errors import HistoryError, SnapshotError
from trapd.event import Event
from trapd.model import Disk, DiskState, Generation, Instance, InstanceId, Memory, PoolState
from trapd.rollout import changes, intent, pin, story, turns, want
from trapd.rollout.actions import Fail, Finish, Plan, Reject, Turn, Verdict
from trapd.rollout.events import interruptions
from trapd.rollout.intent import Received, Situation
from trapd.rollout.plan import plan
from trapd.rollout.recording import Recording
from trapd.rollout.room import Room
from trapd.rollout.view import PoolView, of_pool
from trapd.rollout.world import World, wanted_workers
from trapd.spec import Application, PoolSpec
from trapd.work import Work

log = logging.getLogger("trapd.controller")
RETRY, RETRY_LONGEST = 0.25, 5.0  # seconds until a pass looks again whose backend refused, and refused again
RESYNC_BUSY, RESYNC_IDLE = 15.0, 300.0  # seconds until it looks again though nothing said so: an event may be lost
FAULT_PAUSE = 10.0  # seconds after an unforeseen error
_NO_NOTES: Mapping[str, str] = {}


class Controller:
    """Keeps every pool where it is wanted. ``run`` it once; everything else may be called at any time."""

    def __init__(
        self,
        specs: Sequence[PoolSpec],
        *,
        backend: Backend,
        snapshots: Snapshots,
        history: History,
        clock: Clock,
        gauge: MemoryGauge,
        collect: removal.Collect,
        accounts: Accounts,
        application: Application,
        booted: float = 0.0,
    ) -> None:
        self.specs: Mapping[str, PoolSpec] = {spec.name: spec for spec in specs}
        self.application = application
        self.backend, self.snapshots, self.history, self.clock = backend, snapshots, history, clock
        self.gauge, self.accounts, self._collect = gauge, accounts, collect
        self._growing = asyncio.Lock()  # one pool at a time takes of the memory that is left
        self.disk = Disk(DiskState.CHANGING, reason="not looked at yet")
        self.settled: Disk | None = None  # the disk as it was when it last was whole and at rest
        self.stopping = self.going_down = False  # going down: the machine does
        self.awake_since = 0.0  # since when trapd itself has not stood still; 0: since it began
        self.trouble = ""  # why nothing can be remembered, if so
        self.generations: dict[int, Generation] = dict(history.generations())
        # Time without a trapd is no lack of progress; and over a reboot the clock that it was taken by begins anew.
        times, known = (clock.now(), clock.wall()), history.pools().items()
        self.states = {name: want.after_boot(want.progressed(s, times[0]), *times) for name, s in known}
        self.received: dict[str, Received] = {}  # the latest trigger of each pool, and what it meant
        self.making = asyncio.Lock()  # one snapshot at a time: a later trigger must see what the earlier one made
        self.renew: Callable[[str, Turn], Awaitable[bool]] | None = None  # set by what makes generations
        # The last pass of each pool, and what its workers accounted for when it asked them.
        self._views, self._works = dict[str, PoolView](), dict[str, Mapping[InstanceId, Work]]()
        self._unfinished, self._booted = history.unfinished(), booted  # workers as the trapd before left them
        self._recordings, self._orders = dict[str, Recording](), dict[str, Orders]()
        self._ends: dict[str, asking.Ends] = {}
        self._wakes, self._passes = dict[str, asyncio.Event](), dict[str, asyncio.Lock]()
        self._refusals: dict[str, int] = {}  # passes in a row in which the backend refused something
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed: asyncio.Future[None] | None = None

    # -- what is seen ----------------------------------------------------------------------------------------------

    def state(self, pool: str) -> PoolState:
        return self.states.get(pool) or PoolState(pool)

    def pool(self, name: str) -> PoolView:
        """The last pass's view. A pool that is no longer configured, but still has workers, wants none."""
        spec, state = self.specs.get(name), self.state(name)
        if spec is None:
            spec, state = PoolSpec(name, workers=0), replace(state, workers=None)
        view = self._views.get(name) or PoolView(spec, state, wanted_workers=wanted_workers(spec, state))
        installed = intent.after_disk(self.situation(name)) if name in self.specs else None
        view = replace(view, spec=spec, state=state, installed=installed, received=self.received.get(name))
        return view.while_copying(self.snapshots.making())

    def pools(self) -> list[PoolView]:
        """Every pool that is configured or has workers, by name."""
        return [self.pool(name) for name in sorted({*self.specs, *(n for n, v in self._views.items() if v.instances)})]

    def situation(self, name: str) -> Situation:
        """What a trigger meets in a pool that is configured."""
        return Situation(
            spec=self.specs[name],
            state=self.state(name),
            disk=self.disk,
            application=self.application.identity,
            generations=self.generations,
            usable=self.snapshots.present(),
            stopping=self.stopping,
        )

    def as_installed(self, pool: str) -> bool:
        """Does this pool want the very code that is installed, under the settings in force?"""
        return pool in self.specs and self.situation(pool).is_installed(self.state(pool).wanted)

    async def flaw(self, number: int) -> str:
        """Why no worker could start from this generation any more; empty where nothing speaks against it."""
        return await self.snapshots.flaw(number)

    async def cost(self, number: int) -> Cost | None:
        """What this generation takes on the disk, and took to be made; None if that is not known."""
        return await self.snapshots.cost(number)

    def changed(self) -> asyncio.Future[None]:
        """Resolves when anything in a view has changed."""
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def notify(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def look(self) -> list[PoolView]:
        """As ``pools``, with the workers as they are now: of one that falls silent nothing tells."""
        seen = await self.backend.observe()
        return [replace(view, instances=of_pool(view.spec.name, seen)) for view in self.pools()]

    async def memory(self) -> Mapping[InstanceId, Memory]:
        return await self.backend.memory()

    async def observe(self, name: str) -> PoolView:
        """Look now, and say what a pass would do, without doing it."""
        seen = await self.backend.observe()
        await self._ask(name, seen)
        view, _ = await self._weigh(name, seen, self.clock.now())
        return view

    async def _weigh(
        self, name: str, seen: Sequence[Instance], now: float, *, held: bool = False
    ) -> tuple[PoolView, Plan]:
        """As ``_decide``, with the memory that there is where that matters."""
        view, planned = self._decide(name, seen, now, held=held)
        return self._decide(name, seen, now, await self._room(name, seen), held=held) if view.grows else (view, planned)

    async def _room(self, name: str, seen: Sequence[Instance]) -> Room:
        """For how many more workers there is memory now."""
        process = next((i.pid for i in seen if i.pid is not None), None)
        free = None if process is None else await self.gauge.free(process)
        return Room.of(name, seen, await self.backend.memory(), free)

    def _decide(
        self, name: str, seen: Sequence[Instance], now: float, room: Room | None = None, *, held: bool = False
    ) -> tuple[PoolView, Plan]:
        """``held``: as if the pool were paused, because nothing can be remembered."""
        known, world = self.pool(name), self._world(name, seen, room, held=held)
        planned = plan(world, now)
        if held:
            planned = replace(planned, waiting="room for the history, to write down a verdict", short="")
        view = replace(
            known,
            instances=world.instances,
            wanted_workers=world.wanted_workers,
            waiting=planned.waiting,
            actions=planned.actions,
            room=room or (known.room if planned.waiting else None),
            short=planned.short,
            gate=planned.gate,
            short_since=known.short_since if known.short else now,
            at=now,
            wall=self.clock.wall(),
        )
        return view, planned

    async def _ask(self, name: str, seen: Sequence[Instance]) -> None:
        self._works[name] = await asking.works(self.accounts, self._world(name, seen), self.clock.now())

    def _world(self, name: str, seen: Sequence[Instance], room: Room | None = None, *, held: bool = False) -> World:
        known = self.pool(name)
        state, wanted = known.state, self.generations.get(known.state.wanted or 0)
        world = World(
            spec=known.spec,
            state=want.pause(state) if held else state,
            instances=of_pool(name, seen),
            usable=self.snapshots.present(),
            eager=wanted is not None and wanted.eager,
            stopping=self.stopping,
            awake_since=self.awake_since,
            going_down=self.going_down,
            room=room,
            works=self._works.get(name, {}),
            tasks={number: made.tasks for number, made in self.generations.items() if made.tasks is not None},
            interrupted=self._orders_of(name).interrupted,
            pinned=pin.allowed(state, self.generations) if state.pins else None,
        )
        busy = held or name not in self.specs or self.making.locked() or self.trouble
        return world if busy else turns.allowed(world, self.situation(name))

    # -- the loop --------------------------------------------------------------------------------------------------

    def wake(self, pool: str | None = None) -> None:
        """Look again, at this pool or at all. Cheap, idempotent, and safe from any callback of the loop."""
        for name in [pool] if pool is not None else [*self.specs, *self._wakes]:
            self._wakes.setdefault(name, asyncio.Event()).set()
            if self._tasks and name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self._keep(name), name=f"pool {name}")

    async def run(self) -> None:
        """Keep all pools until cancelled. Instances of pools that are no longer configured are drained."""
        names = {*self.specs, *(i.id.pool for i in await self.backend.observe())}
        self._tasks = {name: asyncio.create_task(self._keep(name), name=f"pool {name}") for name in sorted(names)}
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _keep(self, name: str) -> None:
        wake = self._wakes.setdefault(name, asyncio.Event())
        while True:
            wake.clear()
            try:
                wake_at = await self.step(name)
            except Exception:  # a fault that nobody foresaw slows this pool down; it must not take trapd down
                log.exception("%s: a pass failed; looking again in %g s", name, FAULT_PAUSE)
                self._refusals[name] = 1
                wake_at = self.clock.now() + FAULT_PAUSE
            if self._refusals[name]:  # what was tried in vain has woken us by itself
                await asyncio.sleep(self._patience(name))
            wake_at = max(wake_at, self.clock.now())
            with contextlib.suppress(TimeoutError):
                # not wait_for: in 3.11 it loses a cancellation that comes together with the event
                async with asyncio.timeout(wake_at - self.clock.now()):
                    await wake.wait()
            if self.clock.now() > wake_at + STANDSTILL:
                self.stood_still()

    def stood_still(self) -> None:
        """trapd did not run for a while (B13): that time counts neither as health nor as delay, and begins anew."""
        log.warning("trapd itself stood still: deadlines of rollouts and drains begin anew")
        now = self.awake_since = self.clock.now()
        self.states = {name: want.progressed(state, now) for name, state in self.states.items()}

    def _patience(self, name: str) -> float:
        return min(RETRY * 2.0 ** min(self._refusals[name] - 1, 32), RETRY_LONGEST)

    async def step(self, name: str) -> float:
        """One pass over one pool: observe, plan, record, apply. Returns when to look again at the latest."""
        async with self._passes.setdefault(name, asyncio.Lock()):
            seen = await self.backend.observe()
            self._remember([], [], changes.told(self.generations, seen, self.settled))
            await self._ask(name, seen)
            view, planned = self._decide(name, seen, self.clock.now())
            if not view.grows:
                return await self._pass(name, seen, view, planned)
            async with self._growing:
                room = await self._room(name, seen)
                seen = await self.backend.observe()
                return await self._pass(name, seen, *self._decide(name, seen, self.clock.now(), room))

    async def _pass(self, name: str, seen: Sequence[Instance], view: PoolView, planned: Plan) -> float:
        now = view.at
        state = story.decided(view, planned, self.generations, now, view.wall)
        # written before it is done: a crash in between repeats a step that the next pass would take anyway;
        # and while nothing could be written, something is at each pass, to see whether that is over
        recording, orders = self._recording_of(name), self._orders_of(name)
        ends = self._ends.setdefault(name, asking.Ends(self.accounts))
        events = await ends.told(recording.events(view, planned, orders.refused), recording.before, view)
        kept = self._remember([state] if state != view.state or self.trouble else [], [*recording.pending, *events])
        lost = not kept and any(isinstance(action, Verdict) for action in planned.actions)
        if lost:  # then it is none. Anything else is derived again from what is seen, and has to go on
            view, planned = await self._weigh(name, seen, now, held=True)
            state, told = view.state, recording.events(view, planned, orders.refused)
            events = await ends.told(told, recording.before, view)
        recording.recorded(view, events, written=kept)
        if kept:
            await ends.settle()
        self._views[name] = replace(view, state=state)
        done = await orders.carry_out(self._views[name], planned)
        recording.done(view, done, written=kept)
        refused = lost or bool(orders.refused)
        self._refusals[name] = self._refusals.get(name, 0) + 1 if refused else 0
        if kept and any(isinstance(action, Finish | Reject | Fail) for action in planned.actions):
            await removal.remove_useless(self, self._collect)
        self.notify()
        resync = RESYNC_BUSY if planned.waiting or planned.actions or self.trouble else RESYNC_IDLE
        wakes = [now + (self._patience(name) if refused else resync)]
        if await self._renewed(name, planned):
            wakes.append(now)
        return min(wakes if planned.wake_at is None else [*wakes, planned.wake_at])

    def _recording_of(self, name: str) -> Recording:
        mine = [e for e in self._unfinished if e.pool == name and e.generation in self.generations]
        return self._recordings.setdefault(name, Recording(mine, self._booted))

    def _orders_of(self, name: str) -> Orders:
        if name not in self._orders:
            interrupted = interruptions(self._unfinished, self.clock.now(), self.clock.wall())
            self._orders[name] = Orders(self.backend, lambda event: self._record(name, event), interrupted)
        return self._orders[name]

    def _remember(
        self, states: Sequence[PoolState], events: Sequence[Event], generations: Sequence[Generation] = ()
    ) -> bool:
        """False if that cannot be, the disk being full, say."""
        with contextlib.suppress(HistoryError):
            self.save(states, events, generations)
            return True
        return False

    def _record(self, name: str, event: Event) -> None:
        """After those that wait to be told."""
        pending = self._recordings[name].pending
        if pending or not self._remember([], [event]):
            pending.append(event)

    async def _renewed(self, name: str, planned: Plan) -> bool:
        for action in planned.actions:
            if isinstance(action, Turn) and self.renew is not None:
                try:
                    return await self.renew(name, action)
                except (HistoryError, SnapshotError) as error:
                    log.error("%s: cannot roll out what is due: %s", name, error)
        return False

    def save(
        self,
        states: Iterable[PoolState],
        events: Iterable[Event],
        generations: Iterable[Generation] = (),
        notes: Mapping[str, str] = _NO_NOTES,
    ) -> None:
        """Remember, on disk first. Raises HistoryError."""
        times = self.clock.now(), self.clock.wall()
        states = [want.retimed(state, self.state(state.pool), *times) for state in states]
        events, generations = list(events), list(generations)
        if not (states or events or generations or notes):
            return
        with self.writing():
            self.history.save(pools=states, generations=generations, events=events, notes=notes)
        self.states |= {state.pool: state for state in states}
        self.generations |= {generation.number: generation for generation in generations}
        if events:
            self.notify()  # somebody may follow them

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """What cannot be written to the history is said once, and until it can be again."""
        try:
            yield
        except HistoryError as error:
            if self.trouble != str(error):
                self.trouble = str(error)
                log.error("%s", error)
                self.notify()
            raise
        if self.trouble:
            self.trouble = ""
            log.info("the history can be written again")
            self.notify()

    # -- the end ---------------------------------------------------------------------------------------------------

    def go_down(self, down: bool = True) -> None:
        """The machine does: start, drain and judge nobody any more. With False: its shutdown was cancelled."""
        self.going_down = self.stopping = down
        self.wake()
        self.notify()

    async def stop(self) -> None:
        """Drain every pool and return when the last worker is gone, and a pass has told so."""
        self.stopping = True
        self.wake()
        while await self.backend.observe() or any(view.instances for view in self._views.values()):
            await self.changed()
