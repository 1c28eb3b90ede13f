"""Somebody sets the clock on the wall, or it was wrong until the machine had a network: no worker learns of it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.test_stories import GOOD, RAISES, running, starts
from tests.simulation.universe import POOL, Universe
from trapd.model import InstanceState

YEARS = 20 * 365 * 86400.0  # twenty, in seconds
LONGEST = 86400.0  # s; no life here is longer

jumps = pytest.mark.parametrize("jump", [YEARS, -YEARS], ids=["forward", "back"])


def durations_hold(universe: Universe) -> bool:
    """A jump is in no event's duration, and in no rollout's."""
    lasted = [event.duration for event in universe.history.events(limit=10_000) if event.duration is not None]
    lasted += [r.ended_wall - r.started_wall for r in universe.history.rollouts(POOL) if r.ended_wall is not None]
    return all(0 <= seconds < LONGEST for seconds in lasted)


@jumps
def test_in_the_middle_of_a_rollout(jump: float) -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(10)
    universe.clock.set(jump)
    universe.settle("two")
    assert starts(universe) == {1: 2, 2: 2}
    universe.clock.set(-jump)
    universe.install("three", GOOD)
    universe.settle("three")
    assert starts(universe) == {1: 2, 2: 2, 3: 2}
    assert durations_hold(universe)


@jumps
def test_while_workers_drain_and_trapd_is_killed(jump: float) -> None:
    universe = running()
    universe.install("two", GOOD)
    while not any(instance.state is InstanceState.DRAINING for instance in universe.backend.seen()):
        universe.tick()
    universe.clock.set(jump)
    universe.die()
    universe.run(60)
    universe.settle("two")
    assert starts(universe) == {1: 2, 2: 2}
    universe.clock.set(-jump)
    universe.die()
    universe.run(60)
    universe.settle("two")
    assert starts(universe) == {1: 2, 2: 2}
    assert durations_hold(universe)


@jumps
def test_code_that_does_not_start_is_tried_as_often_as_otherwise(jump: float) -> None:
    def tried(jump: float) -> Counter[int]:
        universe = running()
        universe.install("two", RAISES)
        universe.run(10)
        universe.clock.set(jump)
        universe.run(3600)
        return starts(universe)

    assert tried(jump) == tried(0.0)


@jumps
def test_a_rollout_that_gives_way_just_then_did_not_last_for_years(jump: float) -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(10)
    universe.clock.set(jump)
    universe.install("three", GOOD)
    universe.settle("three")
    assert durations_hold(universe)
