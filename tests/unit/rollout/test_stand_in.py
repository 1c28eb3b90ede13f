"""Which generation is asked in the place of the last good one, when, and what remains of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.builders import NOW, failure, one, spec, wanting, world
from trapd.content import CELERYCONFIG, Content
from trapd.model import Generation, Instance, PoolState, Refusal, RolloutState, Scope
from trapd.rollout import celeryconfig
from trapd.rollout.actions import StandIn
from trapd.rollout.plan import plan
from trapd.rollout.stand_in import TO_BE_MADE, asked, decided, due, other


def generation(number: int, code: str, config: str) -> Generation:
    table = {"pkg": Content(code, code), CELERYCONFIG: Content("", config)}
    known = Generation(number, f"{code} {config}", {"pkg": code}, {}, "", "watch", 0.0, distributions=table)
    return replace(known, required=("pkg", CELERYCONFIG))


KNOWN = {
    1: generation(1, "one", "old"),
    2: generation(2, "two", "new"),
    3: generation(3, "one", "new"),  # the copy
    4: generation(4, "two", "old"),
    5: generation(5, "one", "newer"),
}
COPIED = celeryconfig.with_other(KNOWN[1], KNOWN[2].distributions[CELERYCONFIG]).fingerprint
REFUSED = (Refusal(Scope.CODE, COPIED, "", "it raised"),)


@pytest.mark.parametrize(
    ("state", "fallback", "expected"),
    [
        (wanting(2, 1), 1, TO_BE_MADE),
        (wanting(2, 1, 2), 1, TO_BE_MADE),  # a retrial in its probation
        (wanting(2, 1, 3), 3, 1),
        (wanting(2, 3, 1), 1, 3),
        (wanting(2, 1, 3, 2), 3, 1),
        (wanting(4, 1), 1, None),  # the same celeryconfig
        (wanting(5, 1), 1, None),  # the same code: a copy would be just what is tried
        (wanting(2, 1, refused=REFUSED), 1, None),
        (wanting(2), 1, None),  # nothing ever was good
        (wanting(2, 1), None, None),
        (wanting(9, 1), 1, None),
        (wanting(5, 1, 3), 3, None),  # the copy of an earlier rollout has another celeryconfig, and is no copy here
    ],
)
def test_which_one_is_asked_instead(state: PoolState, fallback: int | None, expected: int | None) -> None:
    assert other(fallback, state, KNOWN, KNOWN.keys()) == expected


def test_what_cannot_start_without_its_snapshot_is_not_asked() -> None:
    assert other(3, wanting(2, 1, 3), KNOWN, {2, 3}) is None
    assert other(1, wanting(2, 3, 1), KNOWN, {1, 2}) == TO_BE_MADE


FAILED = one("2-1", "failed", ago=50)
FAILED_BEFORE, FAILED_SINCE = one("1-2", "failed", ago=60), one("1-2", "failed", ago=40)
CRASHED = one("1-2", "failed", ago=40, failure=failure(40, was_ready=True))
COPY_FAILED = one("3-1", "failed", ago=30)


@pytest.mark.parametrize(
    ("instances", "stand_in", "expected"),
    [
        ((FAILED, FAILED_SINCE), TO_BE_MADE, True),
        ((FAILED, FAILED_SINCE), 3, True),
        ((FAILED, FAILED_SINCE), None, False),
        ((FAILED, FAILED_SINCE, COPY_FAILED), 3, False),  # once for each failure of the canary
        ((FAILED, FAILED_BEFORE), TO_BE_MADE, False),
        ((FAILED, CRASHED), TO_BE_MADE, False),  # it did start
        ((FAILED, one("1-2", "starting", ago=10)), TO_BE_MADE, False),
        ((one("2-1", ago=50), FAILED_SINCE), TO_BE_MADE, False),  # the canary is ready: nobody asks
    ],
)
def test_it_is_asked_when_the_last_good_generation_does_not_start_either(
    instances: tuple[Instance, ...], stand_in: int | None, expected: bool
) -> None:
    seen = world(spec(), wanting(2, 1, phase=RolloutState.PREFLIGHT), one("1-1"), *instances, stand_in=stand_in)
    assert bool(due(seen, NOW)) is expected
    orders = [action for action in plan(seen, NOW).actions if isinstance(action, StandIn)]
    assert [(order.generation, order.other) for order in orders] == ([(1, stand_in)] if expected else [])


def test_a_paused_pool_asks_nobody() -> None:
    state = wanting(2, 1, phase=RolloutState.PREFLIGHT, paused=True)
    assert not due(world(spec(), state, one("1-1"), FAILED, FAILED_SINCE, stand_in=TO_BE_MADE), NOW)


def test_failures_of_the_one_that_is_not_asked_take_nobodys_place_and_are_remembered() -> None:
    state = wanting(2, 1, 3, phase=RolloutState.PREFLIGHT)
    seen = world(spec(), state, FAILED, FAILED_SINCE, one("1-1", "failed", ago=40), stand_in=1)
    named = [str(action.instance) for action in plan(seen, NOW).actions if action.instance is not None]
    assert named == ["p@3-1", "p@3-2", "p@3-3"], "the pool's strength, and one for the question"


@pytest.mark.parametrize(
    ("good", "number", "expected"),
    [((1,), 3, (1, 3)), ((1, 2), 3, (1, 3, 2)), ((1, 3), 1, (3, 1)), ((6, 7, 8, 9, 1), 3, (7, 8, 9, 1, 3))],
)
def test_what_is_asked_is_what_the_pool_falls_back_on(good: tuple[int, ...], number: int, expected: object) -> None:
    assert asked(wanting(2, *good), number).good == expected


@pytest.mark.parametrize(
    ("good", "instances", "expected"),
    [
        ((1, 3), (one("1-1"), one("3-1")), (1,)),  # its workers run: a canary tries the celeryconfig first
        ((1, 3), (one("1-1", "failed"), one("3-1")), (1, 3)),
        ((3, 1), (one("3-1", "failed"), one("1-1")), (1,)),  # the copy does not start: the celeryconfig is to blame
        ((1, 3, 2), (one("3-1"), one("2-1")), (1, 3, 2)),
        ((1,), (one("1-1"),), (1,)),
    ],
)
def test_after_a_rejection_the_celeryconfig_that_still_serves_comes_first(
    good: tuple[int, ...], instances: tuple[Instance, ...], expected: tuple[int, ...]
) -> None:
    assert decided(wanting(2, *good), KNOWN, instances).good == expected
