"""A controller that does as it is told: for the control socket, whose commands must not care how a rollout is made.

Run as a program it is a small trapd: ``python -m tests.support.fake_controller SOCKET SCENARIO`` serves one pool
``default`` with two workers until SIGTERM, and plays SCENARIO whenever something is rolled out.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tests.support.fake_history import FakeHistory
from tests.support.fake_snapshots import FakeSnapshots
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd.contracts import Clock, Cost
from trapd.control.commands import Commands
from trapd.control.documents import Backend
from trapd.control.needs import About
from trapd.control.server import ControlServer
from trapd.errors import RefusedError
from trapd.event import Event, EventKind
from trapd.model import (
    CodeReport,
    Disk,
    DiskState,
    Failure,
    FailureKind,
    Generation,
    Instance,
    InstanceId,
    InstanceState,
    Memory,
    Pin,
    PoolState,
    Refusal,
    Rollout,
    RolloutState,
    Scope,
)
from trapd.rollout.actions import Start
from trapd.rollout.intent import Cause, Nothing
from trapd.rollout.pin_begin import Later
from trapd.rollout.view import PoolView
from trapd.spec import PoolSpec

TRACEBACK = "Traceback (most recent call last):\n  ...\nModuleNotFoundError: No module named 'numba_next'"

_ENDS = {RolloutState.COMPLETE: EventKind.FINISHED, RolloutState.FAILED: EventKind.GIVEN_UP}  # others have their name


class RealClock:
    """A contracts.Clock."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


class FakeController:
    """A needs.Controller. Tests ``put`` views; what was asked for is in ``asked``; ``play`` runs for each rollout."""

    def __init__(self, clock: Clock, *specs: PoolSpec) -> None:
        self.clock, self.history, self.snapshots = clock, FakeHistory(), FakeSnapshots()
        self.specs: Mapping[str, PoolSpec] = {spec.name: spec for spec in specs}
        self.disk = Disk(DiskState.SETTLED, fingerprint="f0", versions={"trap": "1.3.0"})
        self.generations: dict[int, Generation] = {}
        self.flaws: dict[int, str] = {}  # generation -> why no worker could start from it
        self.costs: dict[int, Cost] = {}
        self.follows = False
        self.refusal: Refusal | None = None  # of what is installed, whatever the latest rollout came to
        self.asked: list[tuple[object, ...]] = []
        self.play: Callable[[Rollout], Awaitable[None]] | None = None
        self.looked = asyncio.Event()  # somebody who waits for changes has looked since the last one
        self._views = {
            spec.name: PoolView(spec, PoolState(spec.name), wanted_workers=spec.workers) for spec in self.specs.values()
        }
        self._future: asyncio.Future[None] | None = None
        self._playing: set[asyncio.Future[None]] = set()

    # --- what tests do ---

    def put(self, pool: str, **changes: object) -> None:
        """Change parts of a pool's view, and say so."""
        self._views[pool] = replace(self._views[pool], **changes)  # type: ignore[arg-type]
        state = self._views[pool].state
        self.history.save(pools=[state])
        self.notify()

    async def look_at_disk(self) -> None:
        """What `rollout.status` asks for first."""
        self.asked.append(("look",))

    def notify(self) -> None:
        self.looked.clear()
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def generation(self, number: int, reason: str = "trap 1.3.0", actor: str = "watch", **more: object) -> Generation:
        fields: dict[str, object] = {"fingerprint": f"f{number}", "versions": {"trap": "1.3.0"}, "launch": {}, **more}
        made = Generation(number, reason=reason, actor=actor, wall=self.clock.wall(), **fields)  # type: ignore[arg-type]
        self.generations[number] = made
        return made

    def to(self, pool: str, state: RolloutState, reason: str = "", detail: str = "") -> None:
        """Move the pool's latest rollout on."""
        view = self._views[pool]
        assert view.state.rollout is not None
        ended = self.clock.wall() if state.over else None
        rollout = replace(
            view.state.rollout,
            state=state,
            reason=reason or view.state.rollout.reason,
            detail=detail,
            ended_wall=ended,
        )
        self.put(pool, state=replace(view.state, rollout=rollout))
        kind = _ENDS.get(state) or EventKind(state)
        event = Event(self.clock.wall(), kind, rollout.reason, "trapd", pool, rollout.id, rollout.generation)
        self.history.save(events=[event])
        self.notify()

    def refuse(self, version: str, why: str) -> None:
        """Other code is installed, and was refused."""
        self.disk = Disk(DiskState.SETTLED, fingerprint="f9", versions={"trap": version})
        self.refusal = Refusal(Scope.CODE, "f9", "", why, self.clock.wall())

    # --- what the commands ask ---

    def pool(self, name: str) -> PoolView:
        """With ``follows`` what is installed is what is wanted, unless the latest rollout was refused."""
        view = self._views[name]
        if not self.follows or name not in self.specs:
            return view
        rollout = view.state.rollout
        means = Nothing(Cause.SAME, f"generation {view.state.wanted} is what is installed, under the settings in force")
        if self.disk.state is not DiskState.SETTLED:
            means = Nothing(Cause.UNSETTLED, f"what is installed is {self.disk.state}: {self.disk.reason}")
        elif rollout is not None and rollout.state in (RolloutState.REJECTED, RolloutState.FAILED):
            refusal = Refusal(Scope.CODE, self.disk.fingerprint, "", rollout.reason, rollout.ended_wall or 0.0)
            means = Nothing(Cause.REFUSED, f"what is installed was refused before: {rollout.reason}", refusal)
        elif self.refusal is not None:
            means = Nothing(Cause.REFUSED, f"what is installed was refused before: {self.refusal.why}", self.refusal)
        return replace(view, installed=means)

    def pools(self) -> Sequence[PoolView]:
        return [self.pool(name) for name in self._views]

    async def look(self) -> Sequence[PoolView]:
        return self.pools()

    async def memory(self) -> Mapping[InstanceId, Memory]:
        return {i.id: Memory(300 << 20, 2 << 30) for view in self._views.values() for i in view.instances if i.pid}

    async def observe(self, name: str) -> PoolView:
        self.asked.append(("observe", name))
        return self._views[name]

    def as_installed(self, pool: str) -> bool:
        wanted = self.generations.get(self._views[pool].state.wanted or 0)
        return wanted is not None and wanted.fingerprint == self.disk.fingerprint

    async def flaw(self, number: int) -> str:
        return self.flaws.get(number, "")

    async def cost(self, number: int) -> Cost | None:
        return self.costs.get(number)

    async def recycle(self, pools: Sequence[str], *, actor: str, reason: str) -> Sequence[Rollout]:
        self.asked.append(("recycle", list(pools), actor, reason))
        return [self._begin(pool, actor, reason) for pool in pools]

    async def retry(self, pools: Sequence[str], *, actor: str) -> Sequence[Rollout]:
        self.asked.append(("retry", list(pools), actor))
        if self.refusal is not None:
            return [self._begin(pool, actor, "a retry") for pool in pools]
        raise RefusedError("nothing to retry: no refused generation is what is installed now")

    async def undo(self, pool: str, *, actor: str, to: int | None = None, settings: bool = False) -> Rollout:
        self.asked.append(("undo", pool, actor, *([to] if to else []), *(["settings"] if settings else [])))
        return self._begin(pool, actor, "undo")

    async def pause(self, pool: str, *, actor: str) -> None:
        self.asked.append(("pause", pool, actor))
        self.put(pool, state=replace(self._views[pool].state, paused=True))

    async def promote(self, pool: str, *, actor: str) -> None:
        self.asked.append(("promote", pool, actor))

    async def resume(self, pool: str, *, actor: str) -> None:
        self.asked.append(("resume", pool, actor))
        self.put(pool, state=replace(self._views[pool].state, paused=False))

    async def scale(self, pool: str, workers: int, *, actor: str) -> None:
        self.asked.append(("scale", pool, workers, actor))
        self.put(pool, wanted_workers=workers, state=replace(self._views[pool].state, workers=workers))

    async def drain(self, worker: str, *, actor: str, reason: str) -> None:
        self.asked.append(("drain", worker, actor, reason))

    async def undrain(self, worker: str, *, actor: str) -> None:
        self.asked.append(("undrain", worker, actor))

    async def recycle_worker(self, worker: str, *, actor: str, reason: str) -> None:
        self.asked.append(("recycle worker", worker, actor, reason))

    def find(self, pool: str, id: str) -> Pin | None:
        return next((pin for pin in self._views[pool].state.pins if pin.id == id), None)

    async def begin(self, pools: Sequence[str], *, actor: str, reason: str) -> Mapping[str, Pin] | Later:
        self.asked.append(("pin", *pools, actor, reason))
        raise RefusedError("nothing is pinned here")

    async def take_up(self, pool: str, id: str, *, actor: str) -> Pin:
        raise RefusedError("nothing is pinned here")

    def keep(self, id: str) -> None:
        self.asked.append(("keep", id))

    def heard_at(self, id: str) -> float:
        return 0.0

    def give_up(self, pool: str, id: str, why: str) -> None: ...

    def why_ended(self, id: str) -> str:
        return "it has ended"

    async def override(self, pool: str, *, actor: str) -> None:
        self.asked.append(("override", pool, actor))

    def changed(self) -> asyncio.Future[None]:
        self.looked.set()
        if self._future is None or self._future.done():
            self._future = asyncio.get_running_loop().create_future()
        return self._future

    def _begin(self, pool: str, actor: str, reason: str) -> Rollout:
        """A new generation is wanted; a rollout that was under way ends as superseded."""
        view = self._views[pool]
        if view.state.rollout is not None and not view.state.rollout.state.over:
            self.to(pool, RolloutState.SUPERSEDED, "another generation is wanted instead")
        number = max(self.generations, default=0) + 1
        made = self.generation(number, reason, actor)
        rollout = Rollout(
            id=self.history.next_rollout(),
            pool=pool,
            generation=number,
            previous=view.state.wanted,
            state=RolloutState.PENDING,
            reason=reason,
            actor=actor,
            started_wall=made.wall,
            progressed_at=self.clock.now(),
        )
        self.put(pool, state=replace(view.state, wanted=number, rollout=rollout))
        self.history.save(events=[Event(made.wall, EventKind.WANTED, reason, actor, pool, rollout.id, number)])
        if self.play is not None:
            playing = asyncio.ensure_future(self.play(rollout))
            self._playing.add(playing)
            playing.add_done_callback(self._playing.discard)
        return rollout


# --- builders ---


def worker(clock: Clock, name: str, state: str = "ready", *, ago: float = 60.0, **more: object) -> Instance:
    """``worker(clock, "default@7-1")``: current as far as its own report goes."""
    id, since = InstanceId.parse(name), clock.now() - ago
    fields: dict[str, object] = {"pid": 4000 + 10 * id.generation + id.slot, "active_tasks": 1}
    if state != "starting":
        fields["report"] = CodeReport(id.generation, "d", {"trap": "1.3.0"})
    if state in ("ready", "draining"):
        fields["ready_at"] = since
    if state == "failed":
        fields |= {"failures": 1, "pid": None, "active_tasks": None}
        fields["failure"] = Failure(FailureKind.CODE, "ModuleNotFoundError: numba_next", TRACEBACK, since)
    return Instance(id, InstanceState(state), since, **(fields | more))  # type: ignore[arg-type]


def settled(clock: Clock) -> FakeController:
    """One pool, ``default``: two workers of generation 7, ready and current."""
    controller = FakeController(clock, PoolSpec("default", workers=2))
    controller.generation(7)
    state = PoolState("default", wanted=7, good=(7,))
    controller.put("default", state=state, instances=tuple(worker(clock, f"default@7-{n}") for n in (1, 2)))
    return controller


def about(backend: Backend = "embedded", pid: int = 4242) -> About:
    return About("0.1.0", pid, backend, lambda: "running")


# --- the scenarios of the program ---


class Stage:
    """Plays a rollout in steps of ``pace`` seconds, none of which ends before somebody who waits has seen it."""

    def __init__(self, controller: FakeController, pace: float) -> None:
        self.controller, self.pace = controller, pace

    async def _show(self, rollout: Rollout, state: RolloutState, workers: str, waiting: str = "") -> None:
        """``workers``: "8-1 ready, 7-1 draining"."""
        pairs = [text.split() for text in workers.split(", ")]
        instances = [worker(self.controller.clock, f"{rollout.pool}@{name}", what) for name, what in pairs]
        self.controller.put(rollout.pool, instances=tuple(instances), waiting=waiting)
        self.controller.to(rollout.pool, state)
        await asyncio.sleep(self.pace)
        if not state.over:
            await self.controller.looked.wait()

    async def good(self, rollout: Rollout) -> None:
        new, old = rollout.generation, rollout.previous
        await self._show(rollout, RolloutState.PREFLIGHT, f"{new}-1 starting, {old}-1 ready, {old}-2 ready", "READY")
        await self._show(rollout, RolloutState.ROLLING, f"{new}-1 ready, {old}-1 draining, {old}-2 ready")
        await self._show(rollout, RolloutState.ROLLING, f"{new}-1 ready, {new}-2 ready, {old}-2 draining")
        await self._show(rollout, RolloutState.COMPLETE, f"{new}-1 ready, {new}-2 ready")

    passed_by = good  # while other code is installed, which is refused

    async def bad(self, rollout: Rollout) -> None:
        new, old = rollout.generation, rollout.previous
        await self._show(rollout, RolloutState.PREFLIGHT, f"{new}-1 starting, {old}-1 ready, {old}-2 ready")
        await self._show(rollout, RolloutState.PREFLIGHT, f"{old}-1 ready, {old}-2 ready")
        state = replace(self.controller.pool(rollout.pool).state, wanted=old)
        self.controller.put(rollout.pool, state=state)
        self.controller.to(rollout.pool, RolloutState.REJECTED, f"default@{new}-1 failed to start", TRACEBACK)

    async def stuck(self, rollout: Rollout) -> None:
        new, old = rollout.generation, rollout.previous
        await self._show(rollout, RolloutState.PREFLIGHT, f"{new}-1 starting, {old}-1 ready, {old}-2 ready")

    async def superseded(self, rollout: Rollout) -> None:
        """By another recycle, which then goes well."""
        self.controller.play = self.good
        await self.stuck(rollout)
        await self.controller.recycle([rollout.pool], actor="watch", reason="trap 1.4.0")


def commands_of(
    controller: FakeController,
    *,
    look: Callable[[], Awaitable[object]] | None = None,
    me: About | None = None,
    clock: Clock | None = None,
) -> Commands:
    """Return the table of commands over this controller, which stands for trapd's other parts, too."""
    return Commands(
        controller,
        controller,
        about=me or about(),
        clock=clock or VirtualClock(),
        look=look or controller.look_at_disk,
        accounts=NO_ACCOUNTS,
        pins=controller,
    )


async def _serve(path: Path, scenario: str, pace: float) -> None:
    clock = RealClock()
    controller = settled(clock)
    controller.follows = True
    controller.play = getattr(Stage(controller, pace), scenario)
    controller.put("default", actions=(Start(InstanceId("default", 8, 1), "for show"),) if scenario == "stuck" else ())
    if scenario == "passed_by":
        controller.refuse("1.4.0", "default@6-1 failed to start")
    commands = commands_of(controller, me=about(pid=os.getpid()), clock=clock)
    server = ControlServer(path, commands=commands)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await server.open()
    print("open", flush=True)
    await ended.wait()
    await server.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
