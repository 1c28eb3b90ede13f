"""`tasks poisoned`, `tasks retry` and `tasks drop`: what is listed, who gets the order, and what is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_controller import FakeController, about, settled, worker
from tests.support.json_schema import faults
from tests.support.no_accounts import NoAccounts
from tests.support.virtual_clock import VirtualClock
from trapd.control.handlers import Call
from trapd.control.needs import Context
from trapd.control.poisoned import drop_task, poisoned, retry_task
from trapd.errors import HistoryError, RefusedError
from trapd.event import EventKind
from trapd.model import SetAside

CLOCK = VirtualClock()
POISON = SetAside("proj.kill", "red.trapd-parked", 1, CLOCK.wall() - 60, id="id-1", kills=3)
UNKNOWN = SetAside("proj.gone", "red.trapd-parked", 4, CLOCK.wall() - 60)


class Workers(NoAccounts):
    def __init__(self) -> None:
        self.orders: list[tuple[str, str, str]] = []

    async def poison(self, instance: str, pid: int, id: str, order: str) -> str:
        self.orders.append((instance, id, order))
        return "goes back to its queue"


def call(workers: Workers, controller: FakeController, **params: Any) -> Call[Any]:
    async def report(_: Mapping[str, object]) -> None: ...

    context = Context(about(), controller, CLOCK, controller.look_at_disk, workers)
    unused: Any = None
    return Call(context, unused, unused, params, "ann", report)


@pytest.fixture
def controller() -> FakeController:
    """One worker starts, another one reports what is set aside."""
    made = settled(CLOCK)
    reporting = worker(CLOCK, "default@7-2")
    assert reporting.report is not None
    report = replace(reporting.report, aside=(POISON, UNKNOWN))
    made.put("default", instances=(worker(CLOCK, "default@7-1", "starting"), replace(reporting, report=report)))
    return made


async def test_only_tasks_that_kill_are_listed(controller: FakeController) -> None:
    document = await poisoned(call(Workers(), controller))
    assert faults(document, "Poisoned") == []
    assert [(task["id"], task["task"], task["kills"]) for task in document["tasks"]] == [("id-1", "proj.kill", 3)]


@pytest.mark.parametrize(("handler", "order"), [(retry_task, "retry"), (drop_task, "drop")])
async def test_an_order_goes_to_a_worker_that_serves_and_is_recorded(
    controller: FakeController, handler: Any, order: str
) -> None:
    workers = Workers()
    done = await handler(call(workers, controller, task="id-1"))
    assert (done["worker"], done["done"]) == ("default@7-2", "goes back to its queue")
    assert workers.orders == [("default@7-2", "id-1", order)]
    (event,) = controller.history.events(pool="default", kind=EventKind.RELEASED)
    assert (event.actor, event.reason) == ("ann", "task id-1: goes back to its queue")


@pytest.mark.parametrize("id", ["proj.gone", "", "id-2"])
async def test_a_task_that_is_not_set_aside_cannot_be_freed(controller: FakeController, id: str) -> None:
    workers = Workers()
    with pytest.raises(RefusedError, match=r"cannot drop task .*: no worker here reports that it is set aside"):
        await drop_task(call(workers, controller, task=id))
    assert workers.orders == []


async def test_an_order_is_given_also_while_the_history_cannot_be_written(controller: FakeController) -> None:
    controller.history.failure = HistoryError("the disk is full")
    workers = Workers()
    assert (await retry_task(call(workers, controller, task="id-1")))["id"] == "id-1"
    assert workers.orders
