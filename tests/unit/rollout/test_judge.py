"""The judge of tasks: what counts, the sentence, and the chance against sums by hand."""

from __future__ import annotations

from dataclasses import replace
from math import comb, isclose

import pytest

from trapd.rollout.judge import (
    COMPARISON,
    Evidence,
    Outcomes,
    Word,
    alike,
    chance,
    compare,
    last_word,
    latest,
    limit,
    needed_alone,
    outcomes,
    suspicious,
)
from trapd.work import TaskCounts


def of(ended: int, failed: int, error: str = "KeyError") -> Outcomes:
    return Outcomes(ended - failed, {error: failed} if failed else {})


def test_the_evidence_is_a_sentence() -> None:
    evidence = compare("app.add", of(12, 12), of(240, 1, "ValueError"))
    assert str(evidence) == "app.add: canary 12 of 12 failed, KeyError; others 1 of 240 meanwhile"


@pytest.mark.parametrize(
    ("canary", "others"),
    [
        (of(0, 0), of(0, 0)),
        (of(12, 12), of(0, 0)),  # nothing to compare with
        (of(0, 0), of(240, 1)),
        (of(50, 50), of(50, 50)),  # both fail all
        (of(100, 50), of(300, 150)),
        (of(3, 3), of(3, 0)),  # too few
        (of(100, 0), of(100, 50)),  # better than the others
    ],
)
def test_what_is_no_evidence(canary: Outcomes, others: Outcomes) -> None:
    assert compare("app.add", canary, others) is None


def test_the_chance_is_the_sum_over_all_figures_as_bad() -> None:
    by_hand = sum(comb(10, bad) * comb(30, 8 - bad) for bad in range(5, 9)) / comb(40, 8)
    assert isclose(chance(of(10, 5), of(30, 3)), by_hand)


def test_later_retrials_of_a_rollout_need_more() -> None:
    assert compare("app.add", of(5, 5), of(5, 0), retrial=1) is not None
    assert compare("app.add", of(5, 5), of(5, 0), retrial=5) is None


def test_all_retrials_together_have_no_more_than_the_comparison_may() -> None:
    assert sum(limit(0, retrial) for retrial in range(1, 1000)) <= COMPARISON


@pytest.mark.parametrize(
    ("alone", "inputs"),
    [(of(20, 10), True), (of(20, 7), True), (of(20, 0), False), (of(20, 2), False), (of(0, 0), False)],
)
def test_the_old_code_has_the_last_word(alone: Outcomes, inputs: bool) -> None:
    """Of 6 bad and 6 good inputs in turn one worker has got all bad ones: alone the old code fails half of them."""
    assert alike(Evidence("app.add", of(6, 6), of(6, 0)), alone) is inputs


@pytest.mark.parametrize(
    ("canary", "others", "alone", "word"),
    [
        (of(12, 12), of(17, 2), of(30, 0), Word.CODE),
        (of(12, 12), of(17, 0), of(40, 20), Word.INPUTS),
        (of(12, 12), of(17, 8), of(30, 0), Word.CHANGED),  # a burst of bad inputs that has ended
        (of(12, 12), of(17, 15), of(30, 30), Word.EVEN),  # its last messages had been in the old workers' hands
    ],
)
def test_who_is_to_blame(canary: Outcomes, others: Outcomes, alone: Outcomes, word: Word) -> None:
    assert last_word(Evidence("app.add", canary, others), alone) is word


def test_the_last_word_takes_so_many_tasks_that_twenty_would_fail() -> None:
    assert needed_alone(Evidence("app.add", of(6, 6), of(6, 0))) == 40
    assert needed_alone(Evidence("app.add", of(4, 4), of(36, 0))) == 200
    assert needed_alone(Evidence("app.add", of(6, 6), of(6, 0)), tried=2) == 80, "the second has to be surer"


def test_the_limit_falls_with_the_square_of_the_tasks_compared() -> None:
    assert isclose(limit(200, 1), limit(20, 1) / 100)
    assert limit(1, 1) == limit(20, 1)


def test_the_old_code_s_figures_make_a_suspicion() -> None:
    assert suspicious(of(2, 2), of(100, 1))
    assert not suspicious(of(1, 1), of(100, 1))
    assert not suspicious(of(20, 10), of(100, 50))


def test_where_little_is_known_of_the_old_code_two_failures_in_a_row_are_a_suspicion() -> None:
    """A reboot, or workers that were recycled: the figures of runs that ended are gone with them."""
    assert suspicious(of(2, 2), of(0, 0))
    assert suspicious(of(2, 2), of(30, 0)), "to know little is no worse than to know nothing"
    assert not suspicious(of(1, 1), of(0, 0))
    assert not suspicious(of(100, 10), of(0, 0)), "a tenth fails"


def test_the_latest_tasks_of_several_workers_are_the_old_code_s_figures() -> None:
    """Of a worker that does not tell them, as an earlier trapd's: all that it ended, in the mean."""
    now = TaskCounts(succeeded=900, failed={"KeyError": 900}, latest=(50, 0))
    earlier = TaskCounts(succeeded=30, failed={"KeyError": 10})
    assert latest([now, now, now], 100) == of(100, 0), "an outage is past"
    assert latest([now, earlier], 100) == of(90, 10, "")
    assert latest([replace(now, latest=(50, 25))], 10) == of(50, 25, ""), "never fewer than make figures"


def test_only_ends_count_and_failures_of_one_root_once() -> None:
    counts = TaskCounts(4, 4, 4, {"KeyError": 5}, roots={"KeyError": 2}, retried=9, revoked=7, withdrawn=5)
    earlier = TaskCounts(succeeded=1, failed={"KeyError": 3})  # of a worker that does not tell roots apart
    assert outcomes([counts, earlier]) == Outcomes(5, {"KeyError": 5})


def test_a_soft_time_limit_is_no_evidence() -> None:
    assert outcomes([TaskCounts(succeeded=1, failed={"SoftTimeLimitExceeded": 12})]) == Outcomes(1, {})
