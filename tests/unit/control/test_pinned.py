"""A pin in sentences, in `why` and in the status: for whom, since when, until when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from trapd.control import pinned
from trapd.ctl.verbs import status
from trapd.model import Pin

BEGAN, HOURS = 1_767_323_045.0, 6 * 3600.0  # 2026-01-02 03:04:05 in UTC
HELD = Pin("a", "alice", "trapctl run -- -i x", 7, BEGAN, 50.0, 50.0 + HOURS, BEGAN + HOURS)
NAMELESS = replace(HELD, reason="")
AWAY = replace(HELD, away_since=60.0)
WHEN = "since 2026-01-02 03:04:05, until 2026-01-02 09:04:05 at the latest"
LOST = "; its holder is not connected again yet"
WHAT = ", for trapctl run -- -i x"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        (HELD, f"alice pins generation 7{WHAT}, {WHEN}"),
        (NAMELESS, f"alice pins generation 7, {WHEN}"),
        (AWAY, f"alice pins generation 7{WHAT}, {WHEN}{LOST}"),
    ],
)
def test_why_says_for_whom_since_when_and_until_when(held: Pin, sentence: str) -> None:
    assert pinned.line(held) == sentence


@pytest.mark.parametrize(
    ("held", "line"),
    [
        (HELD, f"generation 7 by alice, {WHEN}{WHAT}"),
        (NAMELESS, f"generation 7 by alice, {WHEN}"),
        (AWAY, f"generation 7 by alice, {WHEN}{WHAT}{LOST}"),
    ],
)
def test_the_status_says_for_whom_since_when_and_until_when(held: Pin, line: str) -> None:
    assert status._pin(pinned.described_pin(held)) == line
