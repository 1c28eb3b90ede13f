"""`rollout.status` looks first, and answers of what is installed then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from tests.support.fake_controller import FakeController, commands_of, settled
from tests.support.virtual_clock import VirtualClock
from trapd.control.commands import Caller
from trapd.control.handlers import StillGoingError
from trapd.control.protocol import Request
from trapd.model import Disk, DiskState, PoolState, RolloutState
from trapd.spec import PoolSpec

BROKEN = Disk(DiskState.BROKEN, reason="trap has no RECORD")


def serving() -> FakeController:
    controller = settled(VirtualClock())
    controller.follows = True
    controller.disk = Disk(DiskState.SETTLED, fingerprint="f7", versions={"trap": "1.3.0"})
    return controller


class Asking:
    """A request of rollout.status; ``told`` is what was reported before the answer."""

    def __init__(self, controller: FakeController, look: Callable[[], Awaitable[object]] | None = None) -> None:
        self.told: list[dict[str, Any]] = []
        self.news = asyncio.Event()
        self.controller = controller
        self.commands = commands_of(controller, look=look, clock=controller.clock)

    async def __call__(self, **params: Any) -> dict[str, Any]:
        async def report(document: Any) -> None:
            self.told.append(document)
            self.news.set()

        request = Request("rollout.status", params)
        return cast(dict[str, Any], await self.commands.call(request, Caller("root", admin=True), report))

    async def until_told(self, words: str) -> None:
        async with asyncio.timeout(5):
            while not any(words in told["message"] for told in self.told):
                self.news.clear()
                await self.news.wait()


async def ignore(document: object) -> None: ...


def states(answer: dict[str, Any]) -> list[str]:
    return [standing["state"] for standing in answer["installed"]]


async def test_what_serves_is_answered_at_once_and_after_a_look() -> None:
    asking = Asking(serving())
    answer = await asking(wait=True)
    assert states(answer) == ["serves"]
    assert asking.controller.asked == [("look",)]


async def test_the_look_may_change_the_answer() -> None:
    controller = serving()

    async def look() -> None:
        controller.disk = BROKEN

    assert states(await Asking(controller, look)()) == ["awaited"]


async def test_a_broken_disk_is_waited_for_and_said_and_its_cure_ends_the_wait() -> None:
    controller = serving()
    cured, controller.disk = controller.disk, BROKEN
    asking = Asking(controller)
    waiting = asyncio.create_task(asking(wait=True))
    await asking.until_told("pool default: waiting: what is installed is broken: trap has no RECORD")
    controller.disk = cured
    controller.notify()
    assert states(await waiting) == ["serves"]


async def test_a_broken_disk_is_told_with_its_age_at_once_and_until_its_cure() -> None:
    controller = serving()
    cured, controller.disk = controller.disk, BROKEN
    asking = Asking(controller)
    await asking.commands.call(Request("status", {}), Caller("root", admin=True), ignore)  # trapd knows of it since
    cast(VirtualClock, controller.clock).move_to(controller.clock.now() + 250)
    [problem] = (await asking(wait=False))["problems"]
    assert problem["text"] == "what is installed is broken and not rolled out: trap has no RECORD"
    assert (problem["kind"], problem["pool"], problem["seconds"]) == ("broken", None, 250)
    controller.disk = cured
    assert (await asking(wait=False))["problems"] == []


async def test_what_was_refused_and_what_a_pause_holds_are_told_and_a_rollout_that_goes_on_is_not() -> None:
    controller = serving()
    await controller.recycle(["default"], actor="watch", reason="trap 1.4.0")
    asking = Asking(controller)
    assert (await asking(wait=False))["problems"] == []
    await controller.pause("default", actor="root")
    [held] = (await asking(wait=False))["problems"]
    assert (held["kind"], held["pool"]) == ("held", "default")
    assert held["text"].endswith("trapctl rollout resume default lets it go on")
    await controller.resume("default", actor="root")
    controller.to("default", RolloutState.REJECTED, "default@8-1 failed to start")
    cast(VirtualClock, controller.clock).move_to(controller.clock.now() + 65)
    [refused] = (await asking(wait=False))["problems"]
    assert (refused["kind"], refused["pool"], refused["seconds"]) == ("withheld", "default", 65)
    assert "default@8-1 failed to start" in refused["text"]
    assert refused["text"].endswith("try the same again: trapctl retry default")


async def test_a_rollout_is_followed_to_its_rejection() -> None:
    controller = serving()
    await controller.recycle(["default"], actor="watch", reason="trap 1.4.0")
    asking = Asking(controller)
    waiting = asyncio.create_task(asking(wait=True))
    await asking.until_told("workers are on generation 8")
    controller.to("default", RolloutState.REJECTED, "default@8-1 failed to start")
    answer = await waiting
    assert states(answer) == ["refused"]
    assert answer["installed"][0]["why"].endswith("default@8-1 failed to start")


async def test_every_pool_has_to_serve() -> None:
    controller = FakeController(VirtualClock(), PoolSpec("a", workers=0), PoolSpec("b", workers=0))
    controller.follows, controller.disk = True, Disk(DiskState.SETTLED, fingerprint="f1")
    controller.generation(1)
    for pool in ("a", "b"):
        controller.put(pool, state=PoolState(pool, wanted=1, good=(1,)))
    await controller.recycle(["b"], actor="root", reason="")
    asking = Asking(controller)
    assert states(await asking(wait=True, pools=["a"])) == ["serves"]
    waiting = asyncio.create_task(asking(wait=True))
    await asking.until_told("pool b: 0 of 0 workers")
    assert not waiting.done()
    controller.to("b", RolloutState.COMPLETE)
    assert states(await waiting) == ["serves", "serves"]


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (
            Disk(DiskState.CHANGING, reason="/opt/app/pip changed"),
            "what is installed is changing: /opt/app/pip changed",
        ),
        (BROKEN, "what is installed is broken: trap has no RECORD"),
    ],
)
async def test_when_the_time_is_over_what_was_awaited_is_said(disk: Disk, words: str) -> None:
    controller = serving()
    controller.disk = disk
    with pytest.raises(StillGoingError, match=f"{words}.*; wait again with trapctl rollout status default"):
        await Asking(controller)(wait=True, timeout=0, pools=["default"])


async def test_a_look_that_does_not_end_is_no_reason_to_wait_for_ever() -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StillGoingError, match="the look at what is installed has not ended"):
        await Asking(serving(), hang)(wait=True, timeout=0)
