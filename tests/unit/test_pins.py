"""The life of pins: begun, taken up again after a start of trapd, ended, overridden; and what waited for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from trapd.control import pinning
from trapd.control.commands import Caller, Commands
from trapd.control.handlers import StillGoingError
from trapd.control.needs import About
from trapd.control.protocol import Request
from trapd.controller import Controller
from trapd.errors import HistoryError, RefusedError
from trapd.event import EventKind
from trapd.generations.collect import removable
from trapd.model import Disk, DiskState, Pin
from trapd.pins import Pins
from trapd.rollout.intent import Cause, Nothing
from trapd.rollout.pin_begin import Later
from trapd.triggers import Triggers


def disk(code: str) -> Disk:
    return Disk(DiskState.SETTLED, fingerprint=code, versions={"pkg": code})


class Trapd:
    """Pools of code 1.0, in virtual time; ``Trapd(before)`` is the next one on the same history and workers."""

    def __init__(self, before: Trapd | None = None, pools: Sequence[str] = ("p",)) -> None:
        self.pools: Sequence[str] = before.pools if before else pools
        self.clock: VirtualClock = before.clock if before else VirtualClock()
        self.history: FakeHistory = before.history if before else FakeHistory()
        self.backend: FakeBackend = before.backend if before else FakeBackend(self.clock)
        self.snapshots: FakeSnapshots = before.snapshots if before else FakeSnapshots()
        self.known = Controller(
            [replace(spec(), name=name) for name in self.pools],
            backend=self.backend,
            snapshots=self.snapshots,
            history=self.history,
            clock=self.clock,
            gauge=FakeGauge(self.backend),
            collect=removable,
            application=application(),
            accounts=NO_ACCOUNTS,
        )
        self.orders = Triggers(self.known)
        self.pins = Pins(self.known, self.orders)

    async def after(self, seconds: float) -> None:
        """Passes of the pool and of its pins, second by second, or a hundred if that is long."""
        until, stride = self.clock.now() + seconds, max(1.0, seconds / 100)
        while self.clock.now() < until:
            self.clock.move_to(min(until, self.clock.now() + stride))
            self.backend.advance(self.clock.now())
            for name in self.pools:
                await self.known.step(name)
            await self.pins._pass()

    async def upgraded(self, code: str) -> None:
        await self.orders.disk_changed(disk(code))
        await self.after(60.0)

    @property
    def code(self) -> str:
        return self.known.generations[self.known.state("p").wanted or 0].fingerprint

    def events(self, kind: EventKind) -> list[tuple[str, str]]:
        return [(event.reason, event.actor) for event in self.history.events() if event.kind is kind]


async def running() -> Trapd:
    trapd = Trapd()
    await trapd.upgraded("1.0")
    return trapd


async def begun(trapd: Trapd) -> Pin:
    held = await trapd.pins.begin(["p"], actor="alice", reason="trap-run")
    assert not isinstance(held, Later)
    return held["p"]


async def test_other_code_waits_until_the_run_has_ended_and_all_else_goes_on() -> None:
    trapd = await running()
    held = await begun(trapd)
    await trapd.upgraded("2.0")
    meaning = trapd.known.pool("p").installed
    assert isinstance(meaning, Nothing)
    assert (trapd.code, meaning.cause) == ("1.0", Cause.PINNED)
    await trapd.orders.recycle(["p"], actor="root", reason="memory")
    await trapd.orders.scale("p", 3, actor="root")
    await trapd.after(60.0)
    assert [(i.id.generation, i.state) for i in trapd.known.pool("p").instances] == [(2, "ready")] * 3
    assert trapd.code == "1.0"
    with pytest.raises(RefusedError, match=r"pinned by alice, for trap-run|no other good generation"):
        await trapd.orders.undo("p", actor="root")
    trapd.pins.give_up("p", held.id, "its run has ended")
    await trapd.after(60.0)
    assert trapd.code == "2.0"
    assert trapd.events(EventKind.PINNED) == [("generation 1, for trap-run, for 21600 s at most", "alice")]
    assert trapd.events(EventKind.UNPINNED) == [("its run has ended", "alice")]


async def test_code_waits_for_the_last_of_several_runs_and_a_late_run_cannot_prolong_that() -> None:
    trapd = await running()
    first = await begun(trapd)
    await trapd.after(100.0)
    await trapd.upgraded("2.0")
    second = await begun(trapd)
    assert second.until == first.until
    trapd.pins.give_up("p", first.id, "its run has ended")
    await trapd.after(60.0)
    assert trapd.code == "1.0"
    await trapd.after(second.until - trapd.clock.now())
    await trapd.after(60.0)
    assert trapd.code == "2.0"
    assert trapd.events(EventKind.UNPINNED)[-1] == ("it lasted as long as any pin may, [rollout] longest_pin", "alice")


async def test_an_operator_overrides_it_and_its_holder_is_told() -> None:
    trapd = await running()
    held = await begun(trapd)
    await trapd.upgraded("2.0")
    await trapd.pins.override("p", actor="root")
    assert trapd.code == "2.0"
    assert trapd.pins.why_ended(held.id) == "overridden by root"
    assert trapd.events(EventKind.UNPINNED) == [("overridden by root", "root")]


async def test_the_next_trapd_keeps_it_for_a_minute_in_which_its_holder_takes_it_up_again() -> None:
    trapd = await running()
    held = await begun(trapd)
    after = Trapd(trapd)
    await after.orders.disk_changed(disk("2.0"))
    await after.after(50.0)
    with pytest.raises(RefusedError, match="has ended"):
        await after.pins.take_up("p", held.id, actor="bob")
    await after.pins.take_up("p", held.id, actor="alice")
    await after.after(600.0)
    assert after.code == "1.0"
    with pytest.raises(RefusedError, match="has ended"):  # somebody holds it
        await after.pins.take_up("p", held.id, actor="alice")


async def test_whoever_does_not_come_back_within_a_minute_has_lost_it() -> None:
    trapd = await running()
    held = await begun(trapd)
    after = Trapd(trapd)
    await after.orders.disk_changed(disk("2.0"))
    await after.after(59.0)
    assert after.code == "1.0"
    await after.after(60.0)
    assert after.code == "2.0"
    with pytest.raises(RefusedError, match="cannot take up the pin of pool p again: it has ended"):
        await after.pins.take_up("p", held.id, actor="alice")


async def test_a_run_that_begins_in_a_rollout_waits_for_its_end() -> None:
    trapd = await running()
    await trapd.orders.disk_changed(disk("2.0"))
    await trapd.after(2.0)
    wait = await trapd.pins.begin(["p"], actor="alice", reason="")
    assert wait == Later("the run begins when rollout 2 to generation 2 has ended", pool="p")
    await trapd.after(60.0)
    held = await begun(trapd)
    assert held.generation == 2


async def test_an_end_that_cannot_be_written_down_comes_later() -> None:
    trapd = await running()
    held = await begun(trapd)
    await trapd.upgraded("2.0")
    trapd.pins.give_up("p", held.id, "its run has ended")
    trapd.history.failure = HistoryError("the disk is full")
    assert await trapd.pins._pass() == 5.0
    assert trapd.pins.find("p", held.id) is None
    assert trapd.code == "1.0"
    trapd.history.failure = None
    await trapd.after(60.0)
    assert trapd.code == "2.0"


async def test_a_pool_that_is_removed_loses_its_pins() -> None:
    trapd = await running()
    await begun(trapd)
    await trapd.orders.reconfigure([replace(spec(), name="q")], application=application())
    await trapd.pins._pass()
    assert trapd.events(EventKind.UNPINNED) == [("the pool was removed from the configuration", "alice")]


async def test_a_run_holds_all_its_pools_or_none() -> None:
    trapd = Trapd(pools=("p", "q"))
    await trapd.upgraded("1.0")
    await trapd.orders.disk_changed(disk("2.0"))
    await trapd.after(2.0)
    await trapd.orders.pause("q", actor="root")
    await trapd.after(58.0)  # p has come to the end of its rollout
    wait = await trapd.pins.begin(["p", "q"], actor="alice", reason="")
    assert isinstance(wait, Later)
    assert (wait.pool, wait.person, trapd.known.state("p").pins) == ("q", True, ())
    await trapd.orders.resume("q", actor="root")
    await trapd.after(60.0)
    held = await trapd.pins.begin(["q", "p"], actor="alice", reason="")
    assert not isinstance(held, Later)
    assert ([*held], held["p"].id == held["q"].id) == (["q", "p"], False)
    await trapd.upgraded("3.0")
    assert trapd.code == "2.0"


async def test_who_waits_for_a_person_is_named_before_who_only_waits() -> None:
    trapd = Trapd(pools=("p", "q"))
    await trapd.upgraded("1.0")
    await trapd.orders.disk_changed(disk("2.0"))
    await trapd.after(2.0)
    await trapd.orders.pause("q", actor="root")
    wait = await trapd.pins.begin(["p", "q"], actor="alice", reason="")
    assert isinstance(wait, Later)
    assert (wait.pool, wait.person) == ("q", True)


# --- on the wire ------------------------------------------------------------------------------------------------------


class Asking:
    """A connection that asks for a pin."""

    def __init__(self, trapd: Trapd, **params: Any) -> None:
        self.told: list[dict[str, Any]] = []
        self.news = asyncio.Event()
        commands = Commands(
            trapd.known,
            trapd.orders,
            about=About("0.1.0", 1, "embedded", lambda: "running"),
            clock=trapd.clock,
            look=_nothing,
            accounts=NO_ACCOUNTS,
            pins=trapd.pins,
        )
        caller = Caller("alice", admin=False, submits=True)
        self.task = asyncio.create_task(commands.call(Request("pin", params), caller, self._report))

    async def _report(self, document: Any) -> None:
        self.told.append(document)
        self.news.set()

    async def told_of(self, words: str) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while not any(words in told["message"] for told in self.told):
                self.news.clear()
                await self.news.wait()
        return next(told for told in self.told if words in told["message"])

    async def gone(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def _nothing() -> None: ...


async def test_a_pin_ends_with_its_connection() -> None:
    trapd = await running()
    asking = Asking(trapd, reason="trap-run\n x")
    told = await asking.told_of("generation 1 is pinned until")
    assert (told["generation"], told["digest"]) == (1, "1.0")
    assert [(held.actor, held.reason) for held in trapd.known.state("p").pins] == [("alice", "trap-run x")]
    await asking.gone()
    await trapd.pins._pass()
    assert trapd.known.state("p").pins == ()


async def test_a_run_is_told_that_it_waits_and_begins_by_itself() -> None:
    trapd = await running()
    await trapd.orders.disk_changed(disk("2.0"))
    await trapd.after(2.0)
    asking = Asking(trapd, pools=["p"])
    await asking.told_of("pool p: waiting: the run begins when rollout 2 to generation 2 has ended")
    await trapd.after(60.0)
    await asking.told_of("generation 2 is pinned")
    await asking.gone()


async def test_a_run_does_not_wait_for_a_person() -> None:
    trapd = await running()
    await trapd.orders.disk_changed(disk("2.0"))
    await trapd.after(2.0)
    await trapd.orders.pause("p", actor="root")
    with pytest.raises(StillGoingError, match=r"cannot pin pool p: rollout 2 .* a person has to resume it"):
        await Asking(trapd).task


async def test_a_holder_that_is_silent_for_a_minute_loses_its_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "ASKED_EVERY", 0.0)
    trapd = await running()
    async with asyncio.timeout(5):
        answer = await Asking(trapd).task
    assert answer["pool"] == "p"
    await trapd.pins._pass()
    assert [why for why, _ in trapd.events(EventKind.UNPINNED)] == ["its holder was silent for 0 s"]


async def test_whose_time_is_over_is_told() -> None:
    trapd = await running()
    asking = Asking(trapd)
    await asking.told_of("is pinned")
    await trapd.pins.override("p", actor="root")
    async with asyncio.timeout(5):
        assert (await asking.task)["message"] == "overridden by root"


async def test_a_run_over_two_pools_ends_with_the_first_pin_that_ends_and_takes_up_both_again() -> None:
    trapd = Trapd(pools=("p", "q"))
    await trapd.upgraded("1.0")
    asking = Asking(trapd, pools=["p", "q"])
    told = [await asking.told_of(f"pool {name}: generation") for name in ("p", "q")]
    assert [len(trapd.known.state(name).pins) for name in ("p", "q")] == [1, 1]

    after = Trapd(trapd)
    again = Asking(after, pools=["p", "q"], pins=[one["pin"] for one in told])
    await again.told_of("pool q: generation")
    assert [held.away_since for name in ("p", "q") for held in after.known.state(name).pins] == [None, None]
    await after.pins.override("q", actor="root")
    async with asyncio.timeout(5):
        answer = await again.task
    assert (answer["pool"], answer["message"]) == ("q", "overridden by root")
    await after.pins._pass()
    assert [after.known.state(name).pins for name in ("p", "q")] == [(), ()]
    await asking.gone()


async def test_a_pin_that_has_ended_is_not_taken_up_and_takes_the_others_with_it() -> None:
    trapd = Trapd(pools=("p", "q"))
    await trapd.upgraded("1.0")
    asking = Asking(trapd, pools=["p", "q"])
    told = await asking.told_of("pool p: generation")
    await asking.told_of("pool q: generation")
    after = Trapd(trapd)
    with pytest.raises(RefusedError, match="cannot take up the pin of pool q again: it has ended"):
        await Asking(after, pools=["p", "q"], pins=[told["pin"], "another"]).task
    await after.pins._pass()
    assert after.known.state("p").pins == ()
    await asking.gone()
