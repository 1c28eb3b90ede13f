"""The loop itself, on a real event loop: woken, cancelled, and not stopped by a fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.support.builders import application, spec
from tests.support.fake_backend import FakeBackend
from tests.support.fake_gauge import FakeGauge
from tests.support.fake_history import FakeHistory
from tests.support.fake_snapshots import FakeSnapshots
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd import controller
from trapd.content import Content
from trapd.controller import Controller
from trapd.errors import BackendError, RefusedError
from trapd.event import EventKind
from trapd.generations.collect import removable
from trapd.model import CodeReport, Disk, DiskState, Instance, InstanceId, InstanceState, PoolState
from trapd.removal import remove_useless
from trapd.rollout.intent import Nothing
from trapd.triggers import Triggers

TABLE = {"pkg": Content("1.0", "p"), "numpy": Content("1.26.4", "n"), "ipython": Content("8.0", "i")}
SETTLED = Disk(DiskState.SETTLED, fingerprint="one", versions={"pkg": "1.0"})


class RealTime(VirtualClock):
    def now(self) -> float:
        return time.monotonic()


def triggers(backend: FakeBackend | None = None) -> Triggers:
    clock = RealTime()
    backend = backend or FakeBackend(clock)
    made = Controller(
        [spec()],
        backend=backend,
        snapshots=FakeSnapshots(),
        history=FakeHistory(),
        clock=clock,
        gauge=FakeGauge(backend),
        collect=removable,
        accounts=NO_ACCOUNTS,
        application=application(),
    )
    backend.on_change = made.wake
    return Triggers(made)


@asynccontextmanager
async def kept(one: Controller) -> AsyncIterator[asyncio.Task[None]]:
    """Its pools, until the end of the block."""
    running = asyncio.create_task(one.run())
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_trigger_wakes_its_pool_and_a_view_tells_of_it() -> None:
    orders = triggers()
    one = orders.controller
    async with kept(one) as running, asyncio.timeout(1):
        await orders.disk_changed(SETTLED)
        while len(one.pool("p").instances) < 2:
            await one.changed()
    assert running.cancelled()


async def test_who_stops_waits_until_it_is_told_that_the_last_worker_has_gone() -> None:
    """trapd-stopped is told after that. A look of ``stop`` itself may find nobody left before a pass does."""
    backend = FakeBackend(RealTime())
    orders = triggers(backend)
    one = orders.controller
    async with kept(one), asyncio.timeout(5):
        await orders.disk_changed(SETTLED)
        while len(workers := one.pool("p").instances) < 2:
            await one.changed()
        stopping = asyncio.create_task(one.stop())
        while any(i.state is not InstanceState.DRAINING for i in one.pool("p").instances):
            await one.changed()
        backend.on_change = lambda pool: None
        for instance in workers:
            backend.go_on(instance.id)
        one.notify()
        for _ in range(10):
            await asyncio.sleep(0)
        one.wake()
        await stopping
        assert [event.kind for event in one.history.events(limit=2)] == [EventKind.GONE, EventKind.GONE]


async def test_while_the_first_copy_is_made_a_view_tells_what_is_waited_for() -> None:
    class Slow(FakeSnapshots):
        async def make(self, *arguments: Any) -> None:
            told.append(one.pool("p").waiting)
            await super().make(*arguments)

        def making(self) -> tuple[int, int] | None:
            return None if self.present() else (1, 963 << 20)

    told: list[str] = []
    orders = triggers()
    one = orders.controller
    one.snapshots = Slow()
    await orders.disk_changed(SETTLED)
    assert told == ["generation 1, of which 963M are being copied"]
    assert one.pool("p").waiting == ""


async def test_a_cancellation_that_comes_together_with_a_wake_is_not_lost() -> None:
    for _ in range(200):
        one = triggers().controller
        running = asyncio.create_task(one.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        one.wake()
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=10)
        assert done, "the loop hangs"


async def test_who_wakes_long_after_the_time_knows_that_it_stood_still(caplog: pytest.LogCaptureFixture) -> None:
    class Late(RealTime):
        behind = 0.0

        def now(self) -> float:
            return time.monotonic() + self.behind

    one = triggers().controller
    clock = one.clock = Late()
    async with kept(one):
        for _ in range(10):
            await asyncio.sleep(0)
        one.wake()
        for _ in range(10):
            await asyncio.sleep(0)
        assert one.awake_since == 0.0
        clock.behind = 3600.0
        one.wake()
        for _ in range(10):
            await asyncio.sleep(0)
        assert one.awake_since >= clock.now() - 60
    assert "trapd itself stood still" in caplog.text


async def test_a_fault_that_nobody_foresaw_slows_a_pool_down_and_no_more() -> None:
    class Faulty(FakeBackend):
        looks = 0

        async def observe(self) -> tuple[Instance, ...]:
            self.looks += 1
            if self.looks == 2:
                raise ZeroDivisionError
            return self.seen()

    backend = Faulty(RealTime())
    orders = triggers(backend)
    one = orders.controller
    async with kept(one), asyncio.timeout(1):
        await orders.disk_changed(SETTLED)
        while not one.pool("p").instances:
            await asyncio.sleep(0)
            one.wake()
    assert backend.looks >= 3


async def test_a_backend_that_refuses_is_not_hammered_though_each_try_wakes_the_pool() -> None:
    class Refusing(FakeBackend):
        tries = 0

        async def start(self, id: InstanceId) -> None:
            self.tries += 1
            self.on_change(id.pool)
            raise BackendError(f"cannot start {id}: not now")

    backend = Refusing(RealTime())
    orders = triggers(backend)
    one = orders.controller
    async with kept(one) as running:
        await orders.disk_changed(SETTLED)
        await asyncio.wait({running}, timeout=0.9)
    assert 2 <= backend.tries / spec().workers <= 3  # at 0.0, 0.25 and 0.75 s


async def test_a_snapshot_that_a_worker_of_another_pool_still_uses_is_not_collected() -> None:
    one = triggers().controller
    one.snapshots.kept = {number: {} for number in range(1, 10)}  # type: ignore[attr-defined]
    one.states["p"] = PoolState("p", wanted=9, good=(5, 6, 7, 8, 9))
    await one.backend.start(InstanceId("q", 2, 1))
    await remove_useless(one, removable)
    assert one.snapshots.present() == {2, 5, 6, 7, 8, 9}


async def test_a_generation_that_is_being_removed_is_not_offered_any_more() -> None:
    orders = triggers()
    one = orders.controller
    await orders.disk_changed(SETTLED)
    for number in range(2, 9):
        one.generations[number] = replace(one.generations[1], number=number)
    one.snapshots.kept = {number: {} for number in range(1, 9)}  # type: ignore[attr-defined]
    one.states["p"] = PoolState("p", wanted=8, good=(7, 8))
    offered = []

    async def remove(number: int) -> None:
        offered.append((number, number in one.generations))

    one.snapshots.remove = remove  # type: ignore[method-assign]
    await remove_useless(one, removable)
    assert offered == [(1, False), (2, False), (3, False)]


def test_a_thousand_refusals_do_not_overflow() -> None:
    one = triggers().controller
    one._refusals["p"] = 5000
    assert one._patience("p") == controller.RETRY_LONGEST


async def test_nothing_is_rolled_out_any_more_when_trapd_stops_and_it_is_said() -> None:
    orders = triggers()
    one = orders.controller
    await orders.disk_changed(SETTLED)
    one.stopping = True
    given = {
        "recycle": orders.recycle(["p"], actor="me", reason=""),
        "undo": orders.undo("p", actor="me"),
        "retry": orders.retry(["p"], actor="me"),
    }
    for verb, order in given.items():
        with pytest.raises(RefusedError, match=f"cannot {verb} p: trapd stops"):
            await order
    assert [rollout.generation for rollout in one.history.rollouts()] == [1]


async def test_before_any_code_has_settled_orders_are_refused_in_words_that_fit_each() -> None:
    orders = triggers()
    for order in orders.recycle(["p"], actor="me", reason=""), orders.undo("p", actor="me"):
        with pytest.raises(
            RefusedError, match=r"cannot (recycle|undo) p: no code has settled yet \(not looked at yet\)"
        ):
            await order


async def test_what_is_taken_as_it_is_is_rolled_out_and_that_is_written_down() -> None:
    orders = triggers()
    await orders.disk_changed(SETTLED)
    unfit = "held requires depa==1.0, but 1.1 is installed"

    async def take() -> str:
        await orders.disk_changed(replace(SETTLED, fingerprint="two"))  # as the watch does, which looks again
        return unfit

    orders.take_as_it_is = take
    assert [rollout.generation for rollout in await orders.retry(["p"], actor="me")] == [2]
    told = [event for event in orders.controller.history.events() if event.kind is EventKind.RETRIED]
    assert [event.reason for event in told] == [f"what is installed is taken as it is: {unfit}"]
    received = orders.controller.pool("p").received
    assert received is not None
    assert not isinstance(received.intent, Nothing), "why would say that nothing changes"


async def test_a_generation_is_as_whole_as_the_disk_on_which_it_is_met() -> None:
    """An earlier trapd made it; what is satisfied now counts from now on."""
    orders = triggers()
    one = orders.controller
    disk = replace(SETTLED, distributions=TABLE, required=("pkg",))
    await orders.disk_changed(disk)
    assert one.generations[1].satisfied is None
    await orders.disk_changed(replace(disk, satisfied=("held requires depa",)))
    assert one.generations[1].satisfied == ("held requires depa",)
    assert list(one.generations) == [1]


def test_before_the_first_pass_a_pool_wants_what_is_configured() -> None:
    assert triggers().controller.pool("p").wanted_workers == 2
    assert controller.RETRY < controller.RESYNC_BUSY < controller.RESYNC_IDLE


class SetClock(VirtualClock):
    """A clock that somebody sets while it goes."""

    set_by = 0.0

    def wall(self) -> float:
        return super().wall() + self.set_by


async def test_a_clock_that_is_set_while_a_rollout_goes_on_does_not_stretch_it() -> None:
    clock, history = SetClock(), FakeHistory()
    backend = FakeBackend(clock)
    world: Any = {
        "backend": backend,
        "gauge": FakeGauge(backend),
        "snapshots": FakeSnapshots(),
        "history": history,
        "collect": removable,
        "accounts": NO_ACCOUNTS,
    }
    world["application"] = application()
    orders = Triggers(Controller([spec()], clock=clock, **world))
    await orders.disk_changed(SETTLED)
    clock.move_to(1060.0)
    clock.set_by = 20 * 365 * 86400.0
    await orders.disk_changed(replace(SETTLED, fingerprint="two", versions={"pkg": "2.0"}))
    second, first = history.rollouts()
    assert first.ended_wall is not None
    assert first.ended_wall - first.started_wall == pytest.approx(60.0)

    clock.move_to(1070.0)
    after = Triggers(Controller([spec()], clock=clock, **world))  # a trapd that comes later leaves alone what is over
    await after.pause("p", actor="ann")
    assert history.rollouts()[1] == first
    clock._now, clock.set_by = 5.0, clock.set_by + 1165.0  # a boot, 100 s later
    after_boot = Triggers(Controller([spec()], clock=clock, **world))
    await after_boot.resume("p", actor="ann")
    assert history.rollouts()[0].started_wall == pytest.approx(second.started_wall, abs=1.0)


async def test_who_caused_a_rollout_to_be_given_up_is_told() -> None:
    orders = triggers()
    one = orders.controller
    await orders.disk_changed(SETTLED)
    one.states["p"] = replace(one.state("p"), good=(1,))
    await orders.disk_changed(replace(SETTLED, fingerprint="two", versions={"pkg": "2.0"}))
    await orders.disk_changed(SETTLED, actor="reload")
    assert one.state("p").wanted == 1
    last = one.history.events()[-1]
    assert (last.kind, last.actor) == (EventKind.SUPERSEDED, "reload")


async def test_what_counts_for_nobody_is_an_event_without_effect_and_what_counts_is_the_reason() -> None:
    orders = triggers()
    known = orders.controller
    first = replace(SETTLED, distributions=TABLE, required=("numpy", "pkg"))
    await orders.disk_changed(first)
    other = {**TABLE, "ipython": Content("9.0", "i2")}
    assert await orders.disk_changed(replace(first, distributions=other)) == []
    assert await orders.disk_changed(replace(first, distributions=other)) == [], "and it is told once"
    told = [event for event in known.history.events() if event.kind is EventKind.NO_EFFECT]
    assert [event.reason for event in told] == [
        "ipython 8.0 -> 9.0: not required by what is watched, and loaded by no worker; workers have it after"
        " trapctl recycle"
    ]
    upgraded = {**other, "numpy": Content("2.0.1", "n2")}
    (begun,) = await orders.disk_changed(replace(first, fingerprint="two", distributions=upgraded))
    assert begun.reason == known.generations[2].reason == "numpy 1.26.4 -> 2.0.1"


async def test_after_an_upgrade_of_trapd_the_same_code_recycles_nobody_and_gets_its_table() -> None:
    orders = triggers()
    known = orders.controller
    await orders.disk_changed(replace(SETTLED, fingerprint="as it was taken then"))
    settled = replace(SETTLED, earlier="as it was taken then", distributions=TABLE, required=("numpy", "pkg"))
    assert await orders.disk_changed(settled) == []
    assert known.history.generations()[1].distributions == TABLE
    rebuilt = {**TABLE, "numpy": Content("1.26.4", "n2")}
    (begun,) = await orders.disk_changed(replace(settled, fingerprint="two", distributions=rebuilt))
    assert begun.reason == "numpy 1.26.4, other content"


async def test_what_a_worker_has_loaded_counts_and_does_so_after_a_restart_of_trapd() -> None:
    class Loading(FakeBackend):
        loads: tuple[str, ...] = ("django",)

        async def observe(self) -> tuple[Instance, ...]:
            reported = CodeReport(1, "one", {}, loaded=self.loads)
            return (Instance(InstanceId("p", 1, 1), InstanceState.READY, 0.0, report=reported),)

    backend = Loading(RealTime())
    orders = triggers(backend)
    known = orders.controller
    table = {**TABLE, "django": Content("5.2.18", "d", called="Django")}
    first = replace(SETTLED, distributions=table, required=("numpy", "pkg"))
    await orders.disk_changed(first)
    await known.step("p")
    assert known.history.generations()[1].loaded == {"django": table["django"]}
    backend.loads = ("django", "ipython")
    await known.step("p")
    assert await orders.disk_changed(first) == [], "what is imported late recycles nobody by itself"

    again = triggers(backend)
    fresh = again.controller = Controller(
        [spec()],
        backend=FakeBackend(known.clock),
        snapshots=known.snapshots,
        history=known.history,
        clock=known.clock,
        collect=removable,
        accounts=NO_ACCOUNTS,
        gauge=known.gauge,
        application=application(),
    )
    upgraded = {**table, "django": Content("5.2.19", "d2", called="Django"), "black": Content("24", "b")}
    (begun,) = await again.disk_changed(replace(first, distributions=upgraded))
    assert begun.reason == "Django 5.2.18 -> 5.2.19"
    assert await again.disk_changed(replace(first, distributions=upgraded)) == []
    assert fresh.generations[2].fingerprint != fresh.generations[1].fingerprint


class SlowGauge(FakeGauge):
    """Others come in between."""

    async def free(self, process: int) -> int | None:
        left = await super().free(process)
        for _ in range(10):
            await asyncio.sleep(0)
        return left


async def test_two_pools_that_roll_at_the_same_time_do_not_take_the_same_memory() -> None:
    clock = VirtualClock()
    backend = FakeBackend(clock)
    one = Controller(
        [spec(1), replace(spec(1), name="q")],
        backend=backend,
        snapshots=FakeSnapshots(),
        history=FakeHistory(),
        clock=clock,
        gauge=SlowGauge(backend, capacity=3),
        collect=removable,
        accounts=NO_ACCOUNTS,
        application=application(),
    )
    orders = Triggers(one)

    async def passes(seconds: float) -> None:
        for _ in range(4):  # a verdict stands alone
            await asyncio.gather(one.step("p"), one.step("q"))
        clock.move_to(clock.now() + seconds)
        backend.advance(clock.now())

    await orders.disk_changed(SETTLED)
    for _ in range(3):
        await passes(10.0)
    await orders.disk_changed(replace(SETTLED, fingerprint="two"))
    await passes(0.0)
    assert len(backend.seen()) == 3
    assert "memory for the canary" in one.pool("p").waiting + one.pool("q").waiting
