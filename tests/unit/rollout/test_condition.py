"""How whole what is wanted was."""

from __future__ import annotations

from dataclasses import replace

from trapd.content import INTERPRETER, Content
from trapd.model import Disk, DiskState, Generation, PoolState
from trapd.rollout.condition import Condition, met, wanted


def generation(number: int) -> Generation:
    return Generation(number, "f", {}, {}, "a test", "tests", 0.0)


TABLE = {"held": Content("1.0", "ab"), "rope": Content("unknown", "cd"), INTERPRETER: Content("3.11", "ef")}
ONE = replace(generation(1), satisfied=("held requires depa", "held requires depb"), altered=("numpy 12",))
TWO = replace(generation(2), satisfied=("held requires depa",), altered=(), distributions=TABLE)
OLD = generation(3)  # an earlier trapd made it
ALL = {one.number: one for one in (ONE, TWO, OLD)}


def pools(*numbers: int | None) -> list[PoolState]:
    return [PoolState(f"pool{place}", wanted=number) for place, number in enumerate(numbers)]


def test_it_is_that_of_the_generation_that_is_wanted() -> None:
    expected = Condition(frozenset({"held requires depa"}), frozenset(), described=frozenset({"held"}))
    assert wanted(pools(2, None), ALL) == expected


def test_of_two_generations_it_holds_nothing_back_that_one_of_them_was_without() -> None:
    assert wanted(pools(1, 2), ALL) == Condition(frozenset({"held requires depa"}), frozenset({"numpy 12"}))


def test_it_is_not_known_at_a_first_start_or_of_a_generation_of_an_earlier_trapd() -> None:
    assert wanted(pools(None), ALL) is None
    assert wanted([], ALL) is None
    assert wanted(pools(9), ALL) is None
    assert wanted(pools(1, 3), ALL) is None


def test_a_generation_that_is_met_on_the_disk_is_as_whole_as_that_is() -> None:
    """An earlier trapd made it, or somebody took what differs as it is, or repaired it."""
    disk = Disk(DiskState.SETTLED, satisfied=("held requires depa",), altered=("numpy 12",))
    assert wanted(pools(3), {3: met(OLD, disk)}) == Condition(
        frozenset({"held requires depa"}), frozenset({"numpy 12"})
    )
    assert met(ONE, Disk(DiskState.SETTLED)) == ONE, "nobody could tell"
