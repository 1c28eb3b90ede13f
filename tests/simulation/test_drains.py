"""A rollout takes as long as the longest task, and not as all tasks one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.simulation.universe import POOL, Universe
from tests.support.builders import spec
from tests.support.fake_backend import Behaviour
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.repetitions import times
from trapd.control import incidents
from trapd.control.needs import About, Context
from trapd.controller import RESYNC_BUSY
from trapd.model import Instance, InstanceState
from trapd.rollout.budget import budget

START, MIN_READY = 20.0, 5.0  # s; the latter is that of tests.support.builders.spec
TASKS = (3600.0, 40.0, 7200.0, 600.0)  # s that the tasks go on after their workers were told to drain
LONGEST = max(TASKS)
WORKERS = range(1, 65) if times(0, 1) else (*range(1, 9), 16, 31, 64)


def task(number: int, workers: int) -> float:
    """Of each universe's workers one has the longest task: the last one."""
    return LONGEST if number == workers - 1 else TASKS[number % len(TASKS)]


def running(workers: int, *, surge: int = 1, unavailable: int = 0, draining: int | None = None) -> Universe:
    """Workers of "one", all with tasks."""
    universe = Universe(spec(workers, surge=surge, unavailable=unavailable, draining=draining))
    universe.install("one", Behaviour(start=START, active_tasks=1))
    universe.run(60)
    for number, instance in enumerate(universe.backend.seen()):
        universe.backend.behave(instance.id, Behaviour(drain=task(number, workers), active_tasks=1))
    return universe


def upgrade(universe: Universe) -> None:
    universe.install("two", Behaviour(start=START, active_tasks=1))


class Took(NamedTuple):
    seconds: float  # to the microsecond
    most: int  # workers alive


def until(universe: Universe, there: Callable[[list[Instance]], bool]) -> Took:
    """Let the time pass until that is so. Each moment in between is looked at."""
    began, most = universe.clock.now(), 0
    floor = budget(universe.spec, universe.wanted_workers).floor
    while not there(seen := universe.seen(POOL)):
        assert sum(i.state is InstanceState.READY for i in seen) >= floor, f"below the floor: {seen}"
        most = max(most, len(seen))
        universe.tick()
    return Took(round(universe.clock.now() - began, 6), most)


def all_new(workers: int, generation: int = 2) -> Callable[[list[Instance]], bool]:
    return lambda seen: len(seen) == workers and all(i.id.generation == generation for i in seen)


def context(universe: Universe) -> Context:
    async def look() -> None:
        pass

    return Context(About("1", 1, "embedded", lambda: "running"), universe.controller, universe.clock, look, NO_ACCOUNTS)


def alive(universe: Universe) -> int:
    return len([i for i in universe.seen(POOL) if i.state is not InstanceState.FAILED])


@pytest.mark.long
@pytest.mark.parametrize("workers", WORKERS)
def test_all_are_new_after_two_starts_min_ready_and_the_longest_task(workers: int) -> None:
    universe = running(workers)
    upgrade(universe)
    another_start = START if workers > 1 else 0.0
    took = until(universe, all_new(workers))
    assert took == (START + MIN_READY + another_start + LONGEST, 2 * workers)
    universe.settle("two", 60)


def test_by_a_number_of_0_they_leave_one_after_the_other() -> None:
    universe = running(4, draining=0)
    upgrade(universe)
    tasks = sum(task(number, 4) for number in range(4))
    assert until(universe, all_new(4)) == (START + MIN_READY + 3 * START + tasks, 5)
    universe.settle("two")


@pytest.mark.parametrize("draining", [1, 2, 3])
def test_a_number_bounds_how_many_are_alive(draining: int) -> None:
    universe = running(4, draining=draining)
    upgrade(universe)
    assert until(universe, all_new(4)).most == 4 + 1 + draining
    universe.settle("two")


def test_a_release_in_the_middle_of_the_drains_of_another_waits_for_none_of_them() -> None:
    universe = running(4)
    upgrade(universe)
    universe.run(START + MIN_READY + START + 1)
    assert alive(universe) == 8
    for instance in universe.seen(POOL):
        if instance.id.generation == 2:
            universe.backend.behave(instance.id, Behaviour(drain=LONGEST))
    universe.install("three", Behaviour(start=START))
    assert until(universe, all_new(4, 3)) == (START + MIN_READY + START + LONGEST, 4 + 4 + 4)
    universe.settle("three")


def test_an_undo_in_the_middle_of_the_drains_waits_for_none_of_them() -> None:
    universe = running(4)
    upgrade(universe)
    universe.run(START + MIN_READY + START + 1)
    universe.order("undo", POOL)

    def back(seen: list[Instance]) -> bool:
        return sum(i.state is InstanceState.READY and i.id.generation == 1 for i in seen) == 4

    assert until(universe, back) == (START, 4 + 4 + 4)
    universe.settle("one")


def test_with_memory_for_one_more_they_leave_one_after_the_other() -> None:
    universe = running(4)
    universe.gauge.capacity = 5
    upgrade(universe)
    tasks = sum(task(number, 4) for number in range(4))
    took = until(universe, all_new(4))
    assert took.seconds <= START + MIN_READY + 3 * (START + RESYNC_BUSY) + tasks
    assert took.most == 5
    universe.settle("two")


def test_without_memory_the_rollout_waits_says_so_and_begins_when_there_is_some() -> None:
    universe = running(2)
    universe.gauge.capacity = 2
    upgrade(universe)
    universe.run(300)
    view = universe.controller.pool(POOL)
    assert view.waiting == "memory for the canary: 0K are free, and a worker needs 1M"
    assert len(universe.backend.started) == 2
    (problem,) = incidents.problems(context(universe), view)
    assert problem.text.startswith("it waits for memory for the canary: 0K are free, and a worker needs 1M, for 5m00s;")
    universe.gauge.capacity = 3
    universe.run(RESYNC_BUSY)
    assert len(universe.backend.started) == 3, "nothing tells that memory was freed, so trapd looks again"
    universe.settle("two")
    assert not incidents.problems(context(universe), universe.controller.pool(POOL))


def test_memory_is_asked_for_only_by_a_pass_that_would_start_more_than_are_wanted() -> None:
    universe = running(2)
    universe.run(3600)
    universe.backend.crash(universe.seen(POOL)[0].id)
    universe.run(3600)
    assert universe.gauge.asked == 0
    upgrade(universe)
    universe.settle("two")
    assert 0 < universe.gauge.asked <= 4


def test_where_the_kernel_tells_no_memory_nothing_is_held_back_and_they_leave_one_after_the_other() -> None:
    universe = running(4)
    universe.gauge.capacity = None
    upgrade(universe)
    universe.run(START + MIN_READY + START)
    assert alive(universe) == 5
    universe.settle("two", 8 * 3600)


def test_what_crashes_is_started_again_without_memory_up_to_the_wanted_number() -> None:
    universe = running(2)
    universe.gauge.capacity = 0
    universe.backend.crash(universe.seen(POOL)[0].id)
    universe.run(60)
    assert [i.state for i in universe.seen(POOL)] == [InstanceState.READY] * 2
