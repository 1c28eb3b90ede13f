"""Durations in and out."""

from __future__ import annotations

import re

import pytest

from trapd.durations import EXAMPLES, age, seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90.0), ("1.5s", 1.5), ("10min", 600.0), ("10m", 600.0), ("1h30min", 5400.0), ("500ms", 0.5)],
)
def test_people_write_numbers_with_units(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "90", "-5s", "5 parsecs", "1e9s", "10s later"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


def test_the_examples_are_durations() -> None:
    assert [seconds(text) for text in re.findall('"(.+?)"', EXAMPLES)] == [0.5, 2.0, 5400.0]


@pytest.mark.parametrize("text", ["9" * 400 + "s", "9" * 400 + "d", "101000d"])
def test_nobody_waits_for_longer_than_a_century(text: str) -> None:
    with pytest.raises(ValueError, match="longer than a century"):
        seconds(text)


@pytest.mark.parametrize(
    ("since", "text"),
    [(-3, "0s"), (0.4, "0s"), (59.9, "59s"), (60, "1m00s"), (250, "4m10s"), (11100, "3h05m"), (1051200, "12d4h")],
)
def test_an_age_has_two_units_at_most(since: float, text: str) -> None:
    assert age(since) == text
