"""The table of upgrades: each way in which code reaches a machine, and what trapd does about it.

A row is a value beside a small function that uses the real tool. ``each`` makes tests of rows, and docs/upgrades.md is
written from the same rows: so that page has nothing but what a test expects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.support.repetitions import LONG

if TYPE_CHECKING:
    from tests.upgrades.stage import Shared


class Outcome(StrEnum):
    """What trapd does, and what exactly a test requires for it, in the words of the page. ``proofs.py`` proves it."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        outcome = str.__new__(cls, value)
        outcome._value_, outcome.meaning = value, meaning
        return outcome

    EXCHANGED = (
        "exchanges the workers once",
        "each old worker is replaced exactly once, with at most one start more; no task is lost or runs twice, and "
        "none sees two versions of the code; the old code serves until the tool has ended; `trapctl why` names what "
        "changed, with both versions.",
    )
    UNCHANGED = "leaves the workers as they are", "no worker is started, and none is told to go."


class Wait(StrEnum):
    """How long trapd waits after the tool's end before it starts the first new worker, in the words of the page."""

    QUIET = "`quiet_period`"
    NOTHING = "-"


@dataclass(frozen=True)
class Row:
    """``way``: the operator's act, in the words of the field, Markdown. ``act`` is a function of the stage and of the
    version to bring: it uses the real tool, and returns when the tool has ended.

    ``reason``: what `trapctl why` has to name; {old} and {new} stand for the versions. ``on_demand``: only
    `make test-long` runs it.
    """

    way: str
    act: Callable[[Any, str], None]
    outcome: Outcome = Outcome.EXCHANGED
    wait: Wait = Wait.QUIET
    reason: str = "shipyard {old} -> {new}"
    on_demand: bool = False

    @property
    def id(self) -> str:
        return self.act.__name__


Test = Callable[["Shared", Row], None]


def each(rows: Sequence[Row]) -> Callable[[Test], Test]:
    """A test function of (stage, row), once for each row."""
    assert len({row.id for row in rows}) == len(rows), "two rows with one name"

    def mark(test: Test) -> Test:
        marks = {row: [pytest.mark.long] if row.on_demand else [] for row in rows}
        cases = [pytest.param(row, id=row.id, marks=marks[row]) for row in rows if LONG or not row.on_demand]
        test.rows = tuple(rows)  # type: ignore[attr-defined]
        return pytest.mark.parametrize("row", cases)(test)

    return mark
