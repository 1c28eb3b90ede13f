"""Generations that are damaged are found, named, and made anew of what is installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.support.fake_backend import FakeBackend
from tests.support.fake_snapshots import FakeSnapshots
from tests.unit.test_controller import SETTLED, TABLE, RealTime, triggers
from trapd import new_generation
from trapd.content import Content
from trapd.model import CodeReport, Disk, DiskState, Instance, InstanceId, InstanceState
from trapd.rollout.intent import CopyOf
from trapd.tending import Tending
from trapd.triggers import Triggers

WHY = "code/trap/a.py: not as copied"


def snapshots(orders: Triggers) -> FakeSnapshots:
    found = orders.controller.snapshots
    assert isinstance(found, FakeSnapshots)
    return found


@asynccontextmanager
async def running(orders: Triggers) -> AsyncIterator[Tending]:
    tending = Tending(orders.controller, orders)
    tasks = [asyncio.create_task(orders.controller.run()), asyncio.create_task(tending.run())]
    try:
        yield tending
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(orders: Triggers, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.wait([orders.controller.changed()], timeout=0.05)


def wanted(orders: Triggers) -> int | None:
    return orders.controller.state("p").wanted


async def test_a_damaged_generation_is_made_anew_of_what_is_installed_when_trapd_starts() -> None:
    orders = triggers()
    await orders.disk_changed(SETTLED)
    snapshots(orders).harmed[1] = WHY
    async with running(orders):
        await until(orders, lambda: wanted(orders) == 2)
    assert orders.controller.generations[2].reason == "the files of generation 1 are damaged or gone"
    assert orders.controller.generations[2].actor == "trapd"


async def test_while_something_else_is_installed_the_damage_is_named() -> None:
    orders = triggers()
    await orders.disk_changed(SETTLED)
    snapshots(orders).harmed[1] = WHY
    orders.controller.disk = Disk(DiskState.BROKEN, "half of it is there")
    async with running(orders) as tending:
        await until(orders, lambda: bool(tending.troubles()))
        assert tending.troubles() == [
            f"generation 1 is damaged: {WHY}; it is made anew as soon as its code is installed whole"
        ]
        await orders.disk_changed(SETTLED)
        assert wanted(orders) == 2
        assert tending.troubles() == []


async def test_a_generation_on_which_a_start_fails_is_examined() -> None:
    orders = triggers()
    async with running(orders):
        await orders.disk_changed(SETTLED)
        await until(orders, lambda: len(orders.controller.pool("p").instances) == 2)
        await until(orders, lambda: snapshots(orders).compiled == [1])
        snapshots(orders).harmed[1] = WHY
        backend = orders.controller.backend
        backend.crash(orders.controller.pool("p").instances[0].id)  # type: ignore[attr-defined]
        await until(orders, lambda: wanted(orders) == 2)


async def test_recycling_a_damaged_generation_takes_what_is_installed() -> None:
    orders = triggers()
    await orders.disk_changed(SETTLED)
    snapshots(orders).harmed[1] = WHY
    [rollout] = await orders.recycle(["p"], actor="someone", reason="")
    assert rollout.generation == 2
    assert snapshots(orders).present() == {2}
    assert orders.controller.generations[2].fingerprint == SETTLED.fingerprint


async def test_each_new_generation_is_compiled_once() -> None:
    orders = triggers()
    async with running(orders):
        await orders.disk_changed(SETTLED)
        await until(orders, lambda: snapshots(orders).compiled == [1])
        await orders.disk_changed(replace(SETTLED, fingerprint="other"))
        await until(orders, lambda: snapshots(orders).compiled == [1, 2])


async def test_what_a_generation_was_made_without_is_a_warning_while_it_is_wanted() -> None:
    orders = triggers()
    await orders.disk_changed(SETTLED)
    tending = Tending(orders.controller, orders)
    assert tending.warnings() == []
    snapshots(orders).unreadable = {1: ["/s/a.py", "/s/b.py", "/s/c", "/s/d"], 2: ["/s/other.py"]}
    assert tending.warnings() == [
        "cannot read /s/a.py, /s/b.py and 2 more: permission denied; generation 1 is made without; let trapd read what "
        "your code needs of it, before the next upgrade"
    ]


@pytest.mark.parametrize("busy", ["rollout", "changing", "making", "stopping"])
async def test_links_are_made_ahead_once_when_there_is_nothing_else_to_do(busy: str) -> None:
    orders = triggers()
    known, done = orders.controller, snapshots(orders).linked_ahead
    await orders.disk_changed(SETTLED)  # begins a rollout
    if busy != "rollout":
        known.states = {name: replace(state, rollout=None) for name, state in known.states.items()}
    known.disk = replace(SETTLED, state=DiskState.CHANGING if busy == "changing" else DiskState.SETTLED)
    known.stopping = busy == "stopping"
    if busy == "making":
        await known.making.acquire()
    tending = asyncio.create_task(Tending(known, orders).run())
    await until(orders, lambda: snapshots(orders).compiled == [1])
    for _ in range(5):
        known.notify()
        await asyncio.sleep(0)
    assert done == []
    known.states = {name: replace(state, rollout=None) for name, state in known.states.items()}
    known.disk, known.stopping = SETTLED, False
    if busy == "making":
        known.making.release()
    known.notify()
    await until(orders, lambda: done == [{1}])
    for _ in range(5):
        known.notify()
        await asyncio.sleep(0)
    assert done == [{1}], "once"
    tending.cancel()
    await asyncio.gather(tending, return_exceptions=True)


async def test_what_a_worker_loads_late_of_its_generation_and_is_another_on_the_disk_is_rolled_out() -> None:
    class Loading(FakeBackend):
        loads: tuple[str, ...] = ("pkg",)

        async def observe(self) -> tuple[Instance, ...]:
            reported = CodeReport(1, "one", {}, loaded=self.loads, copied=self.loads)
            return (Instance(InstanceId("p", 1, 1), InstanceState.READY, 0.0, report=reported),)

    backend = Loading(RealTime())
    orders = triggers(backend)
    first = replace(SETTLED, distributions=TABLE, required=("numpy", "pkg"))
    async with running(orders):
        await orders.disk_changed(first)
        await until(orders, lambda: orders.controller.generations[1].heard)
        later = {**TABLE, "ipython": Content("9.0", "i2")}
        assert await orders.disk_changed(replace(first, distributions=later)) == []
        backend.loads = ("ipython", "pkg")
        orders.controller.wake("p")
        await until(orders, lambda: wanted(orders) == 2)
    assert orders.controller.generations[2].reason == "ipython 8.0 -> 9.0"


async def test_a_copy_that_is_made_of_what_is_installed_has_the_table_of_that() -> None:
    orders = triggers()
    first = replace(SETTLED, distributions=TABLE, required=("numpy", "pkg"))
    await orders.disk_changed(first)
    later = replace(first, distributions={**TABLE, "ipython": Content("9.0", "i2")}, satisfied=("pkg requires numpy",))
    assert await orders.disk_changed(later) == []
    snapshots(orders).harmed[1] = WHY
    orders.controller.disk = later
    made = await new_generation.copied(orders.controller, CopyOf(1, "memory"), "someone")
    assert snapshots(orders).present() == {2}
    assert (made.distributions, made.satisfied) == (later.distributions, later.satisfied)
