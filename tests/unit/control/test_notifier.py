"""Who is told of which events: each at least once, in order, and what fails is said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_history import FakeHistory
from tests.support.virtual_clock import VirtualClock
from trapd.control import notifier as module
from trapd.control.notifier import Notifier
from trapd.errors import HistoryError, RefusedError
from trapd.event import Event, EventKind
from trapd.spec import Notify

BOTH = Notify(command=("/usr/bin/tell", "-x"), unit="mail")


class Controller:
    """As far as the notifier needs it."""

    def __init__(self) -> None:
        self.history = FakeHistory()
        self._future: asyncio.Future[None] | None = None

    def changed(self) -> asyncio.Future[None]:
        if self._future is None or self._future.done():
            self._future = asyncio.get_running_loop().create_future()
        return self._future

    def notify(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def save(self, states: tuple[()], events: list[Event], *, notes: Mapping[str, str] = {}) -> None:
        self.history.save(events=events, notes=notes)

    def record(self, kind: EventKind, reason: str = "why") -> int:
        (saved,) = self.history.save(events=[Event(1.0, kind, reason, pool="default")])
        self.notify()
        return saved.id


class Stage:
    """A trapd that notifies; ``told`` is what reached the command and the unit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.controller, self.settings = Controller(), BOTH
        self.told: list[str] = []
        self.failures: list[str] = []  # of the next attempts, "" for none
        monkeypatch.setattr(module, "run", self._run)
        monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))

    async def _run(self, command: Sequence[str], document: Mapping[str, Any], limit: float) -> str:
        assert (command, limit, document["host"]) == (BOTH.command, 30.0, "lofar3")
        self.told.append(f"command {document['event']['id']}")
        return self.failures.pop(0) if self.failures else ""

    async def _start(self, unit: str) -> str:
        self.told.append(unit)
        return ""

    def life(self, play: Callable[[Notifier], Awaitable[object]]) -> Notifier:
        """One life of trapd: until the play is over and everything is told that can be."""

        async def live() -> Notifier:
            self.controller._future = None  # of the life before
            start, clock = self._start, VirtualClock()
            notifier = Notifier(
                self.controller, clock=clock, host=lambda: "lofar3", settings=self.settings, start_unit=start
            )
            running = asyncio.create_task(notifier.run())
            await quiet()
            await play(notifier)
            await quiet()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            return notifier

        return asyncio.run(live())

    def happen(self, *kinds: EventKind) -> Notifier:
        async def play(_: Notifier) -> None:
            for kind in kinds:
                self.controller.record(kind)

        return self.life(play)


async def quiet() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_only_chosen_kinds_are_told_each_to_the_command_and_to_the_unit_in_order(stage: Stage) -> None:
    stage.controller.record(EventKind.REJECTED)  # before anybody was to be told
    stage.happen(EventKind.READY, EventKind.REJECTED, EventKind.PROBLEM)
    assert stage.told == [
        "command 3",
        "trapd-notify-mail@3.service",
        "command 4",
        "trapd-notify-mail@4.service",
    ]


def test_what_cannot_be_written_down_is_told_once_and_so_is_what_comes_afterwards(stage: Stage) -> None:
    """A disk that became read-only: the history has neither the event nor how far the notifier is."""
    stage.settings = replace(BOTH, unit="", on=("trouble",))

    async def play(_: Notifier) -> None:
        history = stage.controller.history
        history.failure = HistoryError("cannot write the history: read-only")
        history.put_off([Event(1.0, EventKind.TROUBLE, "read-only")])
        for _look in range(3):  # whatever changes
            stage.controller.notify()
            await quiet()
        assert stage.told == ["command 1"]
        history.failure = None
        stage.controller.record(EventKind.TROUBLE)
        await quiet()
        stage.controller.record(EventKind.READY)
        stage.told.append("next life")

    stage.life(play)
    stage.happen(EventKind.TROUBLE)
    assert stage.told == ["command 1", "command 2", "next life", "command 4"]


def test_how_far_it_came_is_written_down_when_that_is_possible_again(stage: Stage) -> None:
    stage.settings = replace(BOTH, unit="", on=("trouble",))

    async def play(_: Notifier) -> None:
        history = stage.controller.history
        history.failure = HistoryError("cannot write the history: read-only")
        history.put_off([Event(1.0, EventKind.TROUBLE, "read-only")])
        stage.controller.notify()
        await quiet()
        history.failure = None
        stage.controller.notify()

    stage.life(play)
    stage.happen(EventKind.READY)
    assert stage.told == ["command 1"]


def test_a_poisoned_task_is_told_where_that_is_chosen(stage: Stage) -> None:
    stage.settings = replace(BOTH, unit="", on=("poisoned",))
    stage.happen(EventKind.REJECTED, EventKind.POISONED, EventKind.RELEASED)
    assert stage.told == ["command 2"]


def test_over_a_restart_none_is_missed_and_none_that_was_told_comes_again(stage: Stage) -> None:
    stage.happen(EventKind.REJECTED)
    stage.controller.record(EventKind.PROBLEM)  # while no trapd runs
    stage.happen()
    stage.happen()
    assert stage.told[::2] == ["command 1", "command 2"]


def test_one_that_was_cut_off_in_the_middle_comes_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: object) -> str:
        stage.told.append("begun")
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    with monkeypatch.context() as patch:
        patch.setattr(module, "run", hangs)
        stage.happen(EventKind.REJECTED)
    stage.happen()
    assert stage.told == ["begun", "command 1", "trapd-notify-mail@1.service"]


def test_a_failure_is_tried_again_then_said_and_does_not_hold_up_the_next_event(stage: Stage) -> None:
    stage.failures = ["no", "no", "it is closed", "no", ""]
    notifiers = [stage.happen(EventKind.REJECTED)]
    assert notifiers[0].trouble == "cannot notify: it is closed; test it with trapctl notify"
    assert stage.told == ["command 1", "command 1", "command 1", "trapd-notify-mail@1.service"]
    notifiers.append(stage.happen(EventKind.PROBLEM, EventKind.PROBLEM))
    assert stage.told[4:] == ["command 2", "command 2", "trapd-notify-mail@2.service", *stage.told[-2:]]
    assert notifiers[1].trouble == ""


def test_while_notifications_fail_each_event_is_tried_once(stage: Stage) -> None:
    stage.failures = ["no"] * 9
    stage.happen(EventKind.REJECTED, EventKind.REJECTED)
    assert [one for one in stage.told if one.startswith("command")] == ["command 1"] * 3 + ["command 2"]


def test_a_failed_notification_is_not_notified_of(stage: Stage) -> None:
    stage.settings = Notify(unit="mail", on=("trouble", "problem"))

    async def play(_: Notifier) -> None:
        stage.controller.record(EventKind.TROUBLE, "cannot notify: x ended with status 1")
        stage.controller.record(EventKind.PROBLEM, "cannot notify: x ended with status 1")
        stage.controller.record(EventKind.TROUBLE, "cannot write to /var")

    stage.life(play)
    assert stage.told == ["trapd-notify-mail@3.service"]


def test_what_happened_while_nobody_was_to_be_told_is_not_told_later(stage: Stage) -> None:
    stage.happen(EventKind.REJECTED)
    stage.settings = Notify()
    stage.happen(EventKind.REJECTED)
    stage.settings = BOTH
    stage.happen(EventKind.REJECTED)
    assert stage.told[::2] == ["command 1", "command 3"]


def test_a_test_is_told_whatever_is_chosen_and_answers_how_it_ended(stage: Stage) -> None:
    stage.settings = Notify(command=BOTH.command, unit="mail", on=())
    answers: list[str] = []

    async def play(notifier: Notifier) -> None:
        answers.append(await notifier.test("ann"))
        stage.failures = ["no", "no", "no"]
        with pytest.raises(RefusedError, match="cannot notify: no"):
            await notifier.test("ann")
        notifier.settings = Notify()
        with pytest.raises(RefusedError, match="names neither a command nor a unit"):
            await notifier.test("ann")

    stage.life(play)
    assert answers == ["/usr/bin/tell and trapd-notify-mail@.service"]


def test_many_events_that_nobody_chose_are_not_looked_at_again(stage: Stage) -> None:
    stage.happen(*[EventKind.READY] * 250)
    assert stage.controller.history.note("notify") == "200"
