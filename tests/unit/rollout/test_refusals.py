"""How far a refusal reaches, and what takes it back."""

from __future__ import annotations

import pytest

from trapd.model import PoolState, Refusal, Scope
from trapd.rollout.refusals import Candidate, covers, forgive, refusal, refuse

TRIED = Candidate("code", "app", "settings")
OF_CODE = Refusal(Scope.CODE, "code", "", "undone by alice")
OF_APPLICATION = Refusal(Scope.APPLICATION, "code", "app", "it raised")
OF_SETTINGS = Refusal(Scope.SETTINGS, "code", "settings", "it raised under these")


@pytest.mark.parametrize(
    ("found", "other_code", "other_application", "other_settings"),
    [
        (OF_CODE, False, True, True),
        (OF_APPLICATION, False, False, True),
        (OF_SETTINGS, False, True, False),
    ],
    ids=[*Scope],
)
def test_a_refusal_reaches_as_far_as_its_scope(
    found: Refusal, other_code: bool, other_application: bool, other_settings: bool
) -> None:
    assert covers(found, TRIED)
    assert covers(found, Candidate("other", "app", "settings")) is other_code
    assert covers(found, Candidate("code", "other", "settings")) is other_application
    assert covers(found, Candidate("code", "app", "other")) is other_settings


def test_of_several_refusals_the_one_that_reaches_farthest_is_told() -> None:
    state = PoolState("p", refused=(OF_SETTINGS, OF_APPLICATION, OF_CODE))
    assert refusal(state, TRIED) is OF_CODE
    assert refusal(PoolState("p", refused=(OF_SETTINGS, OF_APPLICATION)), TRIED) is OF_APPLICATION
    assert refusal(state, Candidate("other", "app", "settings")) is None


def test_a_refusal_is_kept_once_with_its_latest_reason() -> None:
    again = Refusal(Scope.CODE, "code", "", "undone by bob")
    state = refuse(refuse(refuse(PoolState("p"), OF_CODE), OF_SETTINGS), again)
    assert state.refused == (OF_SETTINGS, again)


def test_what_proves_itself_takes_back_every_refusal_that_reaches_it_and_no_other() -> None:
    elsewhere = Refusal(Scope.SETTINGS, "code", "others", "it raised under others")
    state = PoolState("p", refused=(OF_CODE, OF_APPLICATION, OF_SETTINGS, elsewhere))
    assert forgive(state, TRIED).refused == (elsewhere,)
