"""The table of upgrades: each way in which code reaches a machine, and what trapd does about it.

A row is a value beside a small function that uses the real tool. ``each`` makes tests of rows, and docs/upgrades.md is
written from the same rows: so that page has nothing but what a test expects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import pytest

from tests.support.repetitions import LONG


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
        "changed, with both versions or commits where there are any.",
    )
    UNCHANGED = "leaves the workers as they are", "no worker is started, and none is told to go."
    KEPT = (
        "keeps the old code",
        "`trapctl status` exits with 1 and names the reason; nothing is rolled out; no task is lost; a worker that is "
        "killed meanwhile starts again on the old code, with all that the code needs; the repair exchanges the workers "
        "once.",
    )
    REJECTED = (
        "rejects the new code",
        "`trapctl rollout status` and `trapctl status` exit with 1 and name the reason; the old workers run on, and no "
        "task is lost; the next good version exchanges the workers once.",
    )
    HELD = (
        "takes nothing incomplete for whole",
        "of all that the tool leaves behind, no look of the watch calls anything whole that is not one version, with "
        "every file and its metadata; the repair is whole.",
    )


class Wait(StrEnum):
    """What trapd waits for after the tool's end before it starts the first new worker, in the words of the page."""

    FACTS = "nothing"  # the canary starts tentatively: docs/adr/0031-settled-by-facts.md
    QUIET = "`quiet_period`"
    NOTHING = "-"  # nothing is started, or the test does not ask


CHANGED = "shipyard {old} -> {new}"


@dataclass(frozen=True)
class Row:
    """``way``: the operator's act, in the words of the field, Markdown. ``act`` is a function of the stage and of the
    version to bring: it uses the real tool, and returns when the tool has ended.

    ``reason``: what `trapctl why` has to name, or `trapctl status` if something is wrong; {old} and {new} stand for the
    versions, {before} and {after} for the commits of the work tree, {site} for the folder of installed packages,
    {python} for the interpreter. ``repair``: an act that makes whole what this one breaks. ``on_demand``: only
    `make test-long` runs it.
    """

    way: str
    act: Callable[[Any, str], None]
    outcome: Outcome = Outcome.EXCHANGED
    wait: Wait = Wait.NOTHING
    reason: str = CHANGED
    repair: Callable[[Any, str], None] | None = None
    on_demand: bool = False

    @property
    def id(self) -> str:
        return self.act.__name__


Test = Callable[..., None]


def each(rows: Sequence[Row]) -> Callable[[Test], Test]:
    """A test function of (stage, row), once for each row."""
    assert len({row.id for row in rows}) == len(rows), "two rows with one name"

    def mark(test: Test) -> Test:
        marks = {row: [pytest.mark.long] if row.on_demand else [] for row in rows}
        cases = [pytest.param(row, id=row.id, marks=marks[row]) for row in rows if LONG or not row.on_demand]
        test.rows = tuple(rows)  # type: ignore[attr-defined]
        return pytest.mark.parametrize("row", cases)(test)

    return mark
