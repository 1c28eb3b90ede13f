"""Workers that run and take no tasks, over hours: replaced, new before old, and never in a loop."""

from __future__ import annotations

import pytest

from tests.simulation.test_stories import running
from tests.simulation.universe import POOL, Universe
from tests.support.builders import spec
from trapd.event import EventKind
from trapd.model import InstanceState
from trapd.rollout.relief import FORGIVEN

IDLE = "not consuming for 120 s: messages wait (12 in celery), and none comes, 0 active"


def fall_idle(universe: Universe) -> None:
    for instance in universe.seen(POOL):
        if instance.state is InstanceState.READY:
            universe.backend.say(instance.id, IDLE)


def started(universe: Universe) -> list[str]:
    return [id.name for id in universe.backend.started]


@pytest.mark.parametrize(
    "pool",
    [spec(), spec(1), spec(4), spec(surge=0, unavailable=1), spec(1, singleton=True)],
    ids=["two", "one", "four", "no surge", "a singleton"],
)
def test_all_are_replaced_once_within_the_budget(pool: object) -> None:
    universe = running(pool)  # type: ignore[arg-type]
    universe.run(600)
    before = started(universe)
    fall_idle(universe)
    universe.run(60 * pool.workers)  # type: ignore[attr-defined]
    assert len(started(universe)) == 2 * len(before)
    assert all(instance.ailment is None for instance in universe.seen(POOL))
    universe.check_rest()
    universe.check_history()
    [event] = [event for event in universe.history.events(limit=1000) if event.kind is EventKind.RELIEVED]
    assert event.reason.endswith(f" is {IDLE}")
    drained = [event.reason for event in universe.history.events(limit=1000) if event.kind is EventKind.DRAINING]
    assert drained == [f"is {IDLE}"] * len(before)


def test_a_round_that_does_not_help_is_tried_again_ever_more_slowly() -> None:
    """As with messages that the broker means for somebody else: no new worker gets them either."""
    universe = running()
    before = len(started(universe))
    for _ in range(24 * 60):
        fall_idle(universe)
        universe.run(60)
        seen = universe.controller.pool(POOL)
    assert "another try in" in seen.waiting
    rounds = [event for event in universe.history.events(limit=10_000) if event.kind is EventKind.RELIEVED]
    assert 5 <= len(rounds) <= 12  # in a day
    assert len(started(universe)) - before == 2 * len(rounds)
    assert rounds[1].reason.endswith("round 2 in a row")
    for instance in universe.seen(POOL):
        universe.backend.say(instance.id, "ready, 0 active")
    universe.run(FORGIVEN)
    fall_idle(universe)
    universe.run(60)
    latest = [event for event in universe.history.events(limit=10_000) if event.kind is EventKind.RELIEVED][-1]
    assert "in a row" not in latest.reason


def test_what_was_tried_outlives_trapd() -> None:
    universe = running()
    fall_idle(universe)
    universe.run(120)
    before = started(universe)
    fall_idle(universe)
    universe.die()
    universe.run(120)
    assert started(universe) == before
    assert "another try in" in universe.controller.pool(POOL).waiting
