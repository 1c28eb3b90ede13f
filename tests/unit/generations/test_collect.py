"""Which snapshots may go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trapd.generations.collect import KEEP, removable


def test_the_newest_stay_and_what_is_needed_stays() -> None:
    assert removable(frozenset(range(1, 11)), needed=[2, 10]) == {1, 3, 4, 5}


def test_nothing_goes_while_there_are_few() -> None:
    assert removable(frozenset({3, 900}), needed=[]) == frozenset()


@given(present=st.frozensets(st.integers(1, 50)), needed=st.lists(st.integers(1, 50)), keep=st.integers(0, 9))
def test_only_what_is_there_goes_and_never_what_is_needed(
    present: frozenset[int], needed: list[int], keep: int
) -> None:
    gone = removable(present, needed, keep)
    assert gone <= present - set(needed)
    assert len(present - gone) >= min(keep, len(present))
    assert all(number < newest for number in gone for newest in sorted(present)[len(present) - keep :])


def test_five_are_kept() -> None:
    assert KEEP == 5
