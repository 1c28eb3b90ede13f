"""Budget, backoff and the truth about code: small tables."""

from __future__ import annotations

import pytest

from tests.support.builders import one, spec
from trapd.model import CodeReport
from trapd.rollout import backoff
from trapd.rollout.budget import budget
from trapd.rollout.truth import code_state
from trapd.spec import Amount, Policy, PoolSpec


@pytest.mark.parametrize(
    ("surge", "unavailable", "wanted", "expected"),
    [
        (Amount(1), Amount(0), 2, (3, 2)),
        (Amount(25, percent=True), Amount(25, percent=True), 10, (13, 8)),
        # the worked cases in Kubernetes' own source: 2 wanted; 1 % unavailable, 0 % surge; 25 % unavailable, 1 % surge
        (Amount(0, percent=True), Amount(1, percent=True), 2, (2, 1)),
        (Amount(1, percent=True), Amount(25, percent=True), 2, (3, 2)),
        (Amount(0), Amount(100, percent=True), 3, (3, 0)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    surge: Amount, unavailable: Amount, wanted: int, expected: tuple[int, int]
) -> None:
    allowed = budget(PoolSpec("p", policy=Policy(surge, unavailable, max_draining=Amount(0))), wanted)
    assert (allowed.ceiling, allowed.floor) == expected


@pytest.mark.parametrize(
    ("draining", "surge", "sized", "expected"),
    [
        (Amount(0), 1, True, 0),
        (Amount(3), 1, True, 3),
        (Amount(3), 1, False, 3),  # a person knows what fits
        (Amount(25, percent=True), 1, True, 2),
        (None, 1, True, 10),
        (None, 1, False, 0),
        (None, 0, True, 0),  # who asks for no surge asks for no more than the wanted ones
        (Amount(2), 0, True, 2),
    ],
)
def test_old_workers_may_stay_beside_the_new_ones(
    draining: Amount | None, surge: int, sized: bool, expected: int
) -> None:
    policy = Policy(Amount(surge), Amount(1), max_draining=draining)
    assert budget(PoolSpec("p", policy=policy), 5, sized=sized).draining == expected


def test_a_singleton_is_never_surged() -> None:
    for draining in (None, 3):
        allowed = budget(spec(1, surge=3, draining=draining, singleton=True), 1)
        assert (allowed.ceiling, allowed.floor) == (1, 0)


def test_backoff_doubles_to_a_ceiling_with_the_same_jitter_each_time() -> None:
    delays = [backoff.delay(n, "default@1-1") for n in range(12)]
    assert delays[0] == 0
    for count, seconds in enumerate(delays[1:], 1):
        plain = min(backoff.CEILING, 2 ** (count - 1))
        assert 0.75 * plain <= seconds <= 1.25 * plain
    assert delays == [backoff.delay(n, "default@1-1") for n in range(12)]
    assert backoff.delay(3, "default@1-1") != backoff.delay(3, "default@1-2"), "they must not come back together"


def test_code_is_current_only_on_the_workers_own_word() -> None:
    assert code_state(one("2-1"), 2) == "current"
    assert code_state(one("1-1"), 2) == "stale"
    assert code_state(one("2-1", report=None), 2) == "unknown"
    assert code_state(one("2-1", report=CodeReport(2, "d", {}, ("a=b",))), 2) == "mixed"
    assert code_state(one("2-1", report=CodeReport(1, "d", {})), 2) == "stale", "an old report under a new name"
