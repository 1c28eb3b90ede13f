"""When code and a celeryconfig that came together are taken apart, which code takes its place, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.builders import NOW, failure, one, rollout, spec, wanting, world
from trapd.content import CELERYCONFIG, Content
from trapd.model import Apart, Generation, Instance, PoolState, Refusal, RolloutState, Scope
from trapd.rollout import celeryconfig
from trapd.rollout.actions import Promote, PutTogether, TakeApart
from trapd.rollout.halves import sources
from trapd.rollout.plan import plan


def generation(number: int, code: str, config: str) -> Generation:
    table = {"pkg": Content(code, code), CELERYCONFIG: Content("", config)}
    known = Generation(number, f"{code} {config}", {"pkg": code}, {}, "", "watch", 0.0, distributions=table)
    return replace(known, required=("pkg", CELERYCONFIG))


KNOWN = {
    1: generation(1, "one", "old"),
    2: generation(2, "two", "new"),
    3: generation(3, "one", "new"),  # the half
    4: generation(4, "two", "old"),
    5: generation(5, "one", "newer"),
}
COPIED = celeryconfig.with_other(KNOWN[1], KNOWN[2].distributions[CELERYCONFIG]).fingerprint
REFUSED = (Refusal(Scope.CODE, COPIED, "", "it raised"),)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (wanting(2, 1), {1}),
        (wanting(2, 1, 2), {1}),  # a retrial in its probation
        (wanting(2, 1, 3), {1}),  # the half was good: it has this celeryconfig already
        (wanting(4, 1), set()),  # the same celeryconfig
        (wanting(5, 1), set()),  # the same code: a copy would be just what is tried
        (wanting(2, 1, refused=REFUSED), set()),
        (wanting(2), set()),  # nothing ever was good
        (wanting(9, 1), set()),
    ],
)
def test_whose_code_may_be_tried_with_the_new_celeryconfig(state: PoolState, expected: set[int]) -> None:
    assert sources(state, KNOWN) == expected


FAILED = one("2-1", "failed", ago=50)
FAILED_BEFORE, FAILED_SINCE = one("1-2", "failed", ago=60), one("1-2", "failed", ago=40)
CRASHED = one("1-2", "failed", ago=40, failure=failure(40, was_ready=True))
WHOLE = wanting(2, 1, phase=RolloutState.PREFLIGHT)


@pytest.mark.parametrize(
    ("instances", "source", "expected"),
    [
        ((FAILED, FAILED_SINCE), 1, True),
        ((FAILED, FAILED_SINCE), None, False),
        ((FAILED, FAILED_BEFORE), 1, False),
        ((FAILED, CRASHED), 1, False),  # it did start
        ((FAILED, one("1-2", "starting", ago=10)), 1, False),  # it may start yet
        ((one("2-1", ago=50), FAILED_SINCE), 1, False),  # the canary is ready: nobody asks
    ],
)
def test_it_is_taken_apart_when_the_last_good_generation_does_not_start_either(
    instances: tuple[Instance, ...], source: int | None, expected: bool
) -> None:
    assert bool(_turns(WHOLE, *instances, sources={source} - {None})) is expected


def _turns(
    state: PoolState, *instances: Instance, sources: object = frozenset({1}), reunites: bool = True
) -> list[object]:
    planned = plan(world(spec(), state, one("1-1"), *instances, sources=sources, reunites=reunites), NOW)
    return [action for action in planned.actions if isinstance(action, TakeApart | PutTogether)]


def test_the_action_says_what_is_tried_and_why() -> None:
    (action,) = _turns(WHOLE, FAILED, FAILED_SINCE)
    why = "generation 1, to compare with, does not start (ImportError: no)"
    assert action == TakeApart(2, why, source=1)


@pytest.mark.parametrize("more", [{"paused": True}, {"workers": 0}])
def test_a_pool_in_which_nothing_moves_is_not_taken_apart(more: dict[str, object]) -> None:
    assert not _turns(replace(WHOLE, **more), FAILED, FAILED_SINCE)  # type: ignore[arg-type]


@pytest.mark.parametrize(("ago", "expected"), [(30.0, False), (3000.0, True)])
def test_once_taken_apart_it_is_not_again_before_progress_deadline(ago: float, expected: bool) -> None:
    """Or an outage in which neither half starts would be filled with rollouts."""
    began = replace(rollout(2, RolloutState.PREFLIGHT), began_at=NOW - ago)
    state = replace(WHOLE, rollout=began, apart=Apart(2, 3))
    assert bool(_turns(state, FAILED, FAILED_SINCE)) is expected


HALF = wanting(3, 1, phase=RolloutState.PREFLIGHT, apart=Apart(2, 3))
HALF_FAILED = one("3-1", "failed", ago=50)


@pytest.mark.parametrize(
    ("state", "instances", "expected"),
    [
        (HALF, (one("3-1", "starting", ago=5),), False),
        (HALF, (one("3-1"),), False),  # it has to stay ready first, and this pass promotes it
        (HALF, (HALF_FAILED,), False),
        (HALF, (HALF_FAILED, FAILED_SINCE), True),  # an outage: the whole might start when that is over
        (replace(HALF, good=(1, 3)), (one("3-1"),), True),
        (replace(HALF, wanted=1, rollout=rollout(3, RolloutState.REJECTED)), (), True),
        (replace(HALF, wanted=1, rollout=rollout(3, RolloutState.REJECTED), apart=None), (), False),
        (replace(HALF, good=(1, 3), paused=True), (one("3-1"),), False),
    ],
)
def test_it_is_put_together_when_the_half_is_decided(
    state: PoolState, instances: tuple[Instance, ...], expected: bool
) -> None:
    turns = _turns(state, *instances)
    assert [turn.generation for turn in turns if isinstance(turn, PutTogether)] == ([2] if expected else [])


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (HALF, 2),
        (replace(HALF, apart=None), None),
        (replace(HALF, rollout=rollout(3, RolloutState.REJECTED)), None),
        (replace(WHOLE, apart=Apart(2, 3)), None),
    ],
)
def test_the_whole_is_put_aside_only_while_the_half_is_rolled_out(state: PoolState, expected: int | None) -> None:
    assert state.put_aside == expected


@pytest.mark.parametrize(("ago", "expected"), [(12.0, False), (29.0, False), (31.0, True)])
def test_what_could_not_be_judged_before_has_to_live_longer_than_a_loop_of_crashes(ago: float, expected: bool) -> None:
    """Its first workers are forgotten. On RabbitMQ, code that died 4 s after each start was complete in between."""
    state = replace(WHOLE, apart=Apart(2, 3), good=(1, 3))
    actions = plan(world(spec(), state, one("1-1"), one("2-1", ago=ago)), NOW).actions
    assert any(isinstance(action, Promote) for action in actions) is expected
