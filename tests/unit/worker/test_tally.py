"""Each task that started has one end, whoever reports it, and however often."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from trapd.worker.tally import LATEST, MOST_ERRORS, MOST_ROOTS, OTHER, Counts, Run, Tally

NAME = "proj.add"


def begin(tally: Tally, id: str = "1", root: str | None = None) -> Run:
    retrial = tally.received(NAME)
    run = Run(NAME, 1000.0, 10.0, SimpleNamespace(id=id), root, retrial)
    tally.started(id, run)
    return run


@pytest.mark.parametrize(
    ("end", "counted"),
    [
        (lambda tally, run: tally.succeeded(run, 2.0), {"succeeded": 1}),
        (lambda tally, run: tally.failed(run, 2.0, "KeyError"), {"failed": {"KeyError": 1}, "roots": {"KeyError": 1}}),
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
    nothing = {"succeeded": 0, "failed": {}, "roots": {}, "retried": 0, "withdrawn": 0, "revoked": 0, "unbegun": 0}
    assert tally.counts()[NAME].plain() == {**nothing, **counted, "received": 1, "started": 1} | {
        "seconds": 2.0,
        "longest": 2.0,
        "latest": [sum(map(bool, (counted.get("succeeded"), counted.get("failed")))), int("failed" in counted)],
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


def test_failures_of_one_root_count_once_beside_the_number_of_all() -> None:
    tally = Tally()
    for number, root in enumerate(["a", "a", "b", None, None, "a"]):
        tally.failed(begin(tally, str(number), root), 0.0, "KeyError")
    counts = tally.counts()[NAME]
    assert (counts.failed, counts.roots) == ({"KeyError": 6}, {"KeyError": 4})


def test_the_latest_tasks_forget_an_outage() -> None:
    tally = Tally()

    def end(tasks: int, error: str = "", root: str | None = None) -> list[int]:
        for number in range(tasks):
            run = begin(tally, str(number), root)
            tally.failed(run, 0.0, error) if error else tally.succeeded(run, 0.0)
        latest: list[int] = tally.counts()[NAME].plain()["latest"]
        return latest

    assert end(3) == [3, 0]
    assert end(300, "KeyError") == [LATEST, LATEST]
    assert end(LATEST - 1) == [LATEST, 1]
    assert end(LATEST) == [LATEST, 0]
    assert end(5, "KeyError", "a root") == [LATEST, 1], "failures of one root count once"
    assert end(5, "SoftTimeLimitExceeded") == [LATEST, 1], "no evidence"


def test_of_very_many_roots_the_oldest_is_forgotten_and_counts_anew() -> None:
    counts = Counts()
    for number in range(MOST_ROOTS + 1):
        counts.fail("KeyError", str(number))
    counts.fail("KeyError", "1")
    counts.fail("KeyError", "0")
    assert counts.roots == {"KeyError": MOST_ROOTS + 2}
    assert len(counts._known) == MOST_ROOTS


def test_a_retrial_counts_what_is_delivered_after_it_began() -> None:
    tally = Tally()
    before = begin(tally, "1")
    (counts,) = tally.retrials({NAME: "7.1"}).values()
    after = begin(tally, "2")
    tally.failed(before, 0.0, "KeyError")
    tally.succeeded(after, 1.0)
    again = tally.retrials({NAME: "7.1"})
    assert again[NAME] is counts
    assert (counts.received, counts.succeeded, counts.failed) == (1, 1, {})
    assert tally.counts()[NAME].plain()["failed"] == {"KeyError": 1}


def test_a_retrial_that_is_continued_ends_its_tasks_in_hand() -> None:
    tally = Tally()
    tally.retrials({NAME: "7.1"})
    assert tally.compared() == {}
    in_hand = begin(tally, "1")
    for _ in range(2):
        (alone,) = tally.retrials({NAME: "7.1.alone"}).values()
    tally.failed(in_hand, 0.0, "KeyError")
    tally.succeeded(begin(tally, "2"), 0.0)
    (before,) = tally.compared().values()
    assert (before.received, before.succeeded, before.failed) == (1, 0, {"KeyError": 1})
    assert (alone.received, alone.succeeded, alone.failed) == (1, 1, {})
    tally.retrials({NAME: "7.11"})
    assert tally.compared() == {}, "another one"


def test_a_retrial_under_another_mark_begins_anew_and_one_that_nobody_asks_for_ends() -> None:
    tally = Tally()
    tally.retrials({NAME: "7.1"})
    reserved = begin(tally, "1")
    (fresh,) = tally.retrials({NAME: "7.2"}).values()
    tally.failed(reserved, 0.0, "KeyError")
    assert (fresh.received, fresh.failed) == (0, {})
    assert tally.retrials({}) == {}
    tally.succeeded(begin(tally, "2"), 0.0)
    assert fresh.received == 0
