"""`worker.recycle` with `wait` answers when the run of the worker that was there is gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.support.fake_controller import FakeController, commands_of, settled
from tests.support.virtual_clock import VirtualClock
from trapd.control.commands import Caller
from trapd.control.handlers import StillGoingError
from trapd.control.protocol import Request
from trapd.model import Instance, InstanceState


async def recycle(controller: FakeController, worker: str, **params: Any) -> dict[str, Any]:
    async def report(document: Any) -> None:
        raise AssertionError("nothing is reported")

    request = Request("worker.recycle", {"worker": worker, **params})
    return cast(dict[str, Any], await commands_of(controller).call(request, Caller("root", admin=True), report))


def first(controller: FakeController) -> Instance:
    return controller.pool("default").instances[0]


def put(controller: FakeController, *instances: Instance) -> None:
    controller.put("default", instances=(*instances, *controller.pool("default").instances[1:]))


async def looks(controller: FakeController) -> None:
    async with asyncio.timeout(5):
        await controller.looked.wait()


async def test_without_wait_the_answer_comes_at_once() -> None:
    controller = settled(VirtualClock())
    name = first(controller).id.name
    assert (await recycle(controller, name))["worker"] == name
    assert controller.asked == [("recycle worker", name, "root", "")]


async def test_the_wait_goes_on_while_the_worker_serves_and_while_it_drains() -> None:
    controller = settled(VirtualClock())
    old = first(controller)
    waiting = asyncio.create_task(recycle(controller, old.id.name, wait=True))
    for instance in (old, replace(old, state=InstanceState.DRAINING), replace(old, state=InstanceState.STOPPING)):
        put(controller, instance)
        await looks(controller)
        assert not waiting.done()
    controller.put("default", instances=controller.pool("default").instances[1:])
    assert (await waiting)["worker"] == old.id.name


async def test_a_later_run_of_the_same_name_is_not_waited_for() -> None:
    clock = VirtualClock()
    controller = settled(clock)
    old = first(controller)
    waiting = asyncio.create_task(recycle(controller, old.id.name, wait=True))
    await looks(controller)
    put(controller, replace(old, ready_at=clock.now() + 1))
    assert (await waiting)["worker"] == old.id.name


async def test_the_wait_is_given_up_after_the_timeout_and_the_order_stands() -> None:
    controller = settled(VirtualClock())
    name = first(controller).id.name
    with pytest.raises(StillGoingError, match=f"{name} is not replaced yet; trapctl why {name} shows how far that is"):
        await recycle(controller, name, wait=True, timeout=0.01)
    assert controller.asked == [("recycle worker", name, "root", "")]
