"""Workers that run and take no tasks, over hours: replaced, new before old, and never in a loop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.test_stories import GOOD, running
from tests.simulation.universe import POOL, Universe
from tests.support.builders import spec
from trapd.event import EventKind
from trapd.model import InstanceState
from trapd.rollout.relief import FORGIVEN
from trapd.rollout.truth import serves

OUTGROWN = "ready, 0 active, its main process has 612 MiB, more than max_memory = 512 MiB"
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


def test_workers_go_when_they_are_as_old_as_they_may_be_and_not_all_at_once() -> None:
    universe = Universe(replace(spec(4), max_age=3600.0))
    universe.install("one", GOOD)
    universe.run(60)
    before = len(started(universe))
    universe.run(10 * 3600)
    assert 9 * 4 <= len(started(universe)) - before <= 12 * 4
    universe.check_history()
    told = universe.history.events(limit=10_000)
    drained = [event for event in told if event.kind is EventKind.DRAINING]
    assert {event.reason for event in drained} == {"is about as old as max_age = 1h00m allows"}
    assert len({event.wall for event in drained[:4]}) == 4


def test_a_limit_of_memory_that_is_too_low_is_no_loop() -> None:
    universe = running()
    before = len(started(universe))
    for _ in range(60):
        for instance in universe.seen(POOL):
            if instance.state is InstanceState.READY:
                universe.backend.say(instance.id, OUTGROWN)
        universe.run(60)
        assert sum(serves(instance) for instance in universe.seen(POOL)) >= 2
    assert 4 <= len(started(universe)) - before <= 12  # two workers, an hour


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
