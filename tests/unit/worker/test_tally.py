"""Each task that started has one end, whoever reports it, and however often."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from trapd.worker.tally import MOST_ERRORS, OTHER, Run, Tally

NAME = "proj.add"


def begin(tally: Tally, id: str = "1") -> Run:
    run = Run(NAME, 1000.0, 10.0, SimpleNamespace(id=id))
    tally.received(NAME)
    tally.started(id, run)
    return run


@pytest.mark.parametrize(
    ("end", "counted"),
    [
        (lambda tally, run: tally.succeeded(run, 2.0), {"succeeded": 1}),
        (lambda tally, run: tally.failed(run, 2.0, "KeyError"), {"failed": {"KeyError": 1}}),
        (lambda tally, run: tally.retried(run, 2.0), {"retried": 1}),
        (lambda tally, run: tally.withdrawn(run, 2.0), {"withdrawn": 1}),
        (lambda tally, run: tally.revoked(run, 2.0), {"revoked": 1}),
    ],
)
def test_the_first_end_counts(end: Callable[[Tally, Run], None], counted: dict[str, object]) -> None:
    tally = Tally()
    run = begin(tally)
    assert tally.running() == [run]
    end(tally, run)
    tally.succeeded(run, 9.0)
    tally.failed(run, 9.0, "WorkerLostError")
    nothing = {"succeeded": 0, "failed": {}, "retried": 0, "withdrawn": 0, "revoked": 0, "unbegun": 0}
    assert tally.counts()[NAME].plain() == {**nothing, **counted, "received": 1, "started": 1} | {
        "seconds": 2.0,
        "longest": 2.0,
    }
    assert (tally.running(), run.request) == ([], None)


def test_a_task_that_is_revoked_before_its_start_has_not_begun() -> None:
    tally = Tally()
    tally.discarded(NAME)
    counts = tally.counts()[NAME]
    assert (counts.started, counts.revoked, counts.unbegun) == (0, 1, 1)


def test_classes_of_exceptions_are_limited_in_number() -> None:
    tally = Tally()
    for number in range(MOST_ERRORS + 2):
        tally.failed(begin(tally, str(number)), 0.0, f"Error{number}")
    tally.failed(begin(tally), 0.0, "Error0")
    failed = tally.counts()[NAME].failed
    assert (len(failed), failed[OTHER], failed["Error0"]) == (MOST_ERRORS + 1, 2, 2)
