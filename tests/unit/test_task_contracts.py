"""Each generation's first worker that can is asked for its registered tasks, once, and the rollout is compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.support.fake_backend import NEVER, Behaviour, FakeBackend
from tests.support.no_accounts import NoAccounts
from tests.unit.test_controller import SETTLED, RealTime, triggers
from trapd import task_contracts
from trapd.event import EventKind
from trapd.model import Instance, InstanceId, TaskChanges
from trapd.spec import OnMissingTasks
from trapd.task_contracts import TaskContracts
from trapd.triggers import Triggers


class Told(NoAccounts):
    """``tasks``: of each generation, once its workers tell them. ``waiting_to_serve``: the workers of this backend do
    not get ready before they are admitted."""

    def __init__(self, tasks: Mapping[int, Mapping[str, str]], waiting_to_serve: FakeBackend | None = None) -> None:
        self._backend = waiting_to_serve
        self.tasks, self.asked = dict(tasks), list[str]()
        self.admitted = list[str]()
        self.counted = 0
        self.messages: dict[str, int | None] | None = None

    async def registered(self, instance: str, pid: int) -> Mapping[str, str] | None:
        self.asked.append(instance)
        return self.tasks.get(int(instance.partition("@")[2].partition("-")[0]))

    async def admit(self, instance: str, pid: int) -> bool:
        self.admitted.append(instance)
        if self._backend is not None:
            self._backend.go_on(InstanceId.parse(instance))
        return True

    async def waiting(self, instance: str, pid: int, tasks: Sequence[str]) -> Mapping[str, int | None] | None:
        self.counted += 1
        return self.messages


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


async def test_a_held_rollout_goes_on_when_the_old_workers_find_no_message_of_the_lost_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_contracts, "LOOK_EVERY", 0.01)
    backend = WithStatus(RealTime(), behaviours={number: Behaviour(start=NEVER, drain=0.01) for number in (1, 2)})
    orders, accounts = triggers(backend), Told({1: {"a": "1"}, 2: {}}, waiting_to_serve=backend)
    controller = orders.controller
    pool = controller.specs["p"]
    held = replace(pool, policy=replace(pool.policy, on_missing_tasks=OnMissingTasks.HOLD, min_ready=0.0))
    controller.specs = {"p": held}
    async with running(orders, accounts):
        await orders.disk_changed(SETTLED)
        await until(orders, lambda: controller.state("p").last_good == 1)
        assert {"p@1-1", "p@1-2"} <= {*accounts.admitted}
        await orders.disk_changed(replace(SETTLED, fingerprint="two"))
        await until(orders, lambda: controller.pool("p").gate is not None)
        no: list[dict[str, int | None] | None] = [None, {"q": 2, "": 0}, {"q": None, "": 0}, {"q": 0, "": 1}]
        for messages in no:
            accounts.messages, before = messages, accounts.counted
            await until(orders, lambda before=before: accounts.counted >= before + 2)  # type: ignore[misc]
            assert controller.pool("p").gate is not None
        assert "p@2-1" not in accounts.admitted
        accounts.messages = {"q": 0, "": 0}
        await until(orders, lambda: controller.state("p").last_good == 2)
        assert "p@2-1" in accounts.admitted
    kinds = [event.kind for event in controller.history.events(pool="p", limit=1000)]
    assert kinds.count(EventKind.OPENED) == 1


async def test_a_worker_with_the_number_of_a_process_that_left_is_admitted_too() -> None:
    backend = WithStatus(RealTime(), behaviours={1: Behaviour(start=NEVER, drain=0.01)})
    orders, accounts = triggers(backend), Told({1: {"a": "1"}}, waiting_to_serve=backend)
    controller = orders.controller
    pool = controller.specs["p"]
    held = replace(pool, policy=replace(pool.policy, on_missing_tasks=OnMissingTasks.HOLD, min_ready=0.0))
    controller.specs = {"p": held}
    async with running(orders, accounts):
        await orders.disk_changed(SETTLED)
        await until(orders, lambda: controller.state("p").last_good == 1)
        controller.specs = {"p": replace(held, workers=0)}
        controller.wake()
        await until(orders, lambda: not controller.pool("p").instances)
        backend._pids = 1000
        controller.specs = {"p": held}
        controller.wake()
        await until(orders, lambda: accounts.admitted.count("p@1-1") == 2)
