"""Each generation's first worker that can is asked for its registered tasks, once, and the rollout is compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from tests.support.fake_backend import Behaviour, FakeBackend
from tests.support.no_accounts import NoAccounts
from tests.unit.test_controller import SETTLED, RealTime, triggers
from trapd.event import EventKind
from trapd.model import Instance, TaskChanges
from trapd.task_contracts import TaskContracts
from trapd.triggers import Triggers


class Told(NoAccounts):
    """``tasks``: of each generation, once its workers tell them."""

    def __init__(self, tasks: Mapping[int, Mapping[str, str]]) -> None:
        self.tasks, self.asked = dict(tasks), list[str]()

    async def registered(self, instance: str, pid: int) -> Mapping[str, str] | None:
        self.asked.append(instance)
        return self.tasks.get(int(instance.partition("@")[2].partition("-")[0]))


class WithStatus(FakeBackend):
    """Each worker has this status."""

    status = "connecting, 0 active"

    async def observe(self) -> tuple[Instance, ...]:
        return tuple(replace(instance, status=self.status) for instance in await super().observe())


@asynccontextmanager
async def running(orders: Triggers, accounts: Told) -> AsyncIterator[None]:
    contracts = TaskContracts(orders.controller, accounts)
    tasks = [asyncio.create_task(orders.controller.run()), asyncio.create_task(contracts.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(orders: Triggers, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            backend = orders.controller.backend
            assert isinstance(backend, FakeBackend)
            backend.advance(time.monotonic())
            await asyncio.wait([orders.controller.changed()], timeout=0.01)


async def test_the_tasks_are_asked_once_and_the_next_generation_is_compared() -> None:
    backend = WithStatus(RealTime(), behaviours={1: Behaviour(start=0.01), 2: Behaviour(start=0.01)})
    orders = triggers(backend)
    controller, accounts = orders.controller, Told({1: {"a": "1", "b": "2"}, 2: {"b": "3"}})
    async with running(orders, accounts):
        await orders.disk_changed(SETTLED)
        await until(orders, lambda: controller.generations[1].tasks == accounts.tasks[1])
        for _ in range(5):
            controller.notify()
            await asyncio.sleep(0)
        assert len(accounts.asked) == 1
        await orders.disk_changed(replace(SETTLED, fingerprint="two"))
        await until(orders, lambda: getattr(controller.state("p").rollout, "tasks", None) is not None)
        rollout = controller.state("p").rollout
        assert rollout is not None
        assert rollout.tasks == TaskChanges(("a",), ("b",))
        kinds = [event.kind for event in controller.history.events(rollout=rollout.id)]
        assert kinds.count(EventKind.TASKS_CHANGED) == 1
        assert controller.history.generations()[2].tasks == {"b": "3"}


async def test_a_worker_that_cannot_tell_yet_is_asked_again_when_it_says_more() -> None:
    backend = WithStatus(RealTime())
    orders, accounts = triggers(backend), Told({})
    backend.status = "importing"
    async with running(orders, accounts):
        await orders.disk_changed(SETTLED)
        await until(orders, lambda: len(accounts.asked) >= 2)  # each of the two workers
        before = len(accounts.asked)
        assert before == 2
        for _ in range(5):
            orders.controller.notify()
            await asyncio.sleep(0)
        assert len(accounts.asked) == before
        accounts.tasks[1] = {"a": "1"}
        backend.status = "connecting, 0 active"
        orders.controller.wake()
        await until(orders, lambda: orders.controller.generations[1].tasks == {"a": "1"})
