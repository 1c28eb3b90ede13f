"""A problem that lasts is an event, and its age outlives trapd."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.support.fake_controller import about, settled
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd.control.needs import Context
from trapd.control.problem_log import ProblemLog
from trapd.control.status import status
from trapd.errors import HistoryError
from trapd.event import Event, EventKind
from trapd.model import InstanceState


class Stage:
    """A pool of two workers, of which tests take one away; time moves by ``look``."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.controller = settled(self.clock)
        self.both = self.controller.pool("default").instances
        self.full = False  # the disk
        self.begin()

    def begin(self) -> None:
        """The next trapd, with the history of the one before."""
        self.context = Context(about(), self.controller, self.clock, self.controller.look_at_disk, NO_ACCOUNTS)
        self.log = ProblemLog(self.context, self._save, self.controller.history.put_off, after=600.0)

    def _save(self, events: Sequence[Event], notes: Mapping[str, str]) -> None:
        if self.full:
            raise HistoryError("cannot write the history: the disk is full")
        self.controller.history.save(events=events, notes=notes)

    def look(self, seconds: float = 0.0, troubles: Sequence[str] = ()) -> float | None:
        self.clock.move_to(self.clock.now() + seconds)
        return asyncio.run(self.log.look(troubles))

    def lose_one(self) -> None:
        self.controller.put("default", instances=self.both[:1])

    def told(self) -> list[tuple[EventKind, str | None, float | None]]:
        events = self.controller.history.events()
        return [(event.kind, event.pool, event.duration) for event in events if event.kind.about == "problem"]


def test_a_problem_that_lasts_is_recorded_once_and_so_is_its_end() -> None:
    stage = Stage()
    assert stage.look() is None
    stage.lose_one()
    assert stage.look() == 600.0
    assert stage.look(599.0) == 1.0
    assert stage.told() == []
    assert stage.look(1.0) is None
    stage.look(1000.0)
    assert stage.told() == [(EventKind.PROBLEM, "default", 600.0)]
    stage.controller.put("default", instances=stage.both)
    stage.look(5.0)
    assert stage.told()[1:] == [(EventKind.PROBLEM_OVER, "default", 1605.0)]


def test_a_problem_that_is_over_before_is_no_event() -> None:
    stage = Stage()
    stage.lose_one()
    stage.look()
    stage.controller.put("default", instances=stage.both)
    assert stage.look(599.0) is None
    assert stage.look(700.0) is None
    assert stage.told() == []


def test_the_next_trapd_knows_the_age_and_tells_nothing_twice() -> None:
    stage = Stage()
    stage.lose_one()
    stage.look()
    stage.look(300.0)
    stage.begin()
    whole = stage.controller.pool("default").instances
    stage.controller.put("default", instances=stage.both)  # as it is seen at first: the disk is not looked at yet
    stage.look(1.0)
    stage.controller.put("default", instances=whole)
    assert stage.look(1.0) == 298.0
    assert status(stage.context)["open_problems"][0]["seconds"] == 302.0
    stage.look(298.0)
    stage.begin()
    stage.look(30.0)
    stage.controller.put("default", instances=stage.both)
    stage.look(100.0)
    assert [kind for kind, _, _ in stage.told()] == [EventKind.PROBLEM, EventKind.PROBLEM_OVER]


def test_what_cannot_be_recorded_is_told_in_time_and_recorded_when_it_can_be() -> None:
    stage = Stage()
    stage.lose_one()
    stage.look()
    stage.full = True
    assert stage.look(600.0) is None, "nothing would be gained by trying again at once"
    told = [(EventKind.PROBLEM, "default", 600.0)]
    assert stage.told() == told
    stage.look(30.0)
    assert stage.told() == told, "once"
    stage.full = False
    stage.look(60.0)
    assert stage.told() == told
    stage.begin()
    stage.look()
    assert stage.told() == told, "the next trapd knows"


def test_a_trapd_that_stops_has_no_problems() -> None:
    stage = Stage()
    stage.controller.put("default", instances=[replace(i, state=InstanceState.DRAINING) for i in stage.both])
    stage.log._context = replace(stage.context, about=replace(about(), state=lambda: "stopping"))
    assert stage.look(700.0) is None
    assert stage.look(700.0) is None
    assert stage.told() == []


def test_a_trouble_whose_figures_change_is_the_same_trouble() -> None:
    stage = Stage()
    for second in range(0, 1200, 300):
        stage.look(300.0, [f"cannot write to /var/lib/trapd: {second} KiB are free on its disk"])
    assert stage.told() == [(EventKind.PROBLEM, None, 600.0)]
