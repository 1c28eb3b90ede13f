"""Does a pool serve what is installed? The answer that scripts get."""

from __future__ import annotations

import pytest

from tests.support.builders import one, spec
from trapd.model import PoolState, Rollout, RolloutState
from trapd.rollout.installed import Standing, installed
from trapd.rollout.intent import Cause, CopyOf, FromDisk, GoBack, Intent, Nothing
from trapd.rollout.view import PoolView

SAME = Nothing(Cause.SAME, "generation 2 is what is installed, under the settings in force")
NEW = FromDisk("pkg 1.0 -> 2.0")


def rollout(state: RolloutState, generation: int = 2, reason: str = "why") -> Rollout:
    return Rollout(4, "p", generation, 1, state, reason, "watch", 0.0, 0.0)


def view(
    means: Intent | None, latest: Rollout | None = None, *, workers: int = 2, ready_of: int = 2, good: bool = True
) -> PoolView:
    state = PoolState("p", wanted=2, good=(1, 2) if good else (1,), rollout=latest)
    there = tuple(one(f"2-{slot}") for slot in range(1, ready_of + 1))
    return PoolView(spec(workers), state, there, wanted_workers=workers, installed=means)


@pytest.mark.parametrize("latest", [None, RolloutState.COMPLETE, RolloutState.SUPERSEDED])
def test_it_serves_where_every_wanted_worker_runs_it(latest: RolloutState | None) -> None:
    assert installed(view(SAME, rollout(latest) if latest else None)).standing is Standing.SERVES


def test_no_worker_wanted_is_served_by_none() -> None:
    assert installed(view(SAME, rollout(RolloutState.COMPLETE), workers=0, ready_of=0)).standing is Standing.SERVES


def test_what_was_taken_back_is_history() -> None:
    rejected = rollout(RolloutState.REJECTED, generation=3)
    assert installed(view(SAME, rejected)).standing is Standing.SERVES


@pytest.mark.parametrize("means", [NEW, GoBack(1, "the last good generation's again"), CopyOf(2, "settings")])
def test_a_rollout_that_is_about_to_begin_is_awaited(means: Intent) -> None:
    found = installed(view(means, rollout(RolloutState.COMPLETE)))
    assert (found.standing, found.why) == (Standing.AWAITED, str(means))


@pytest.mark.parametrize(
    "means",
    [
        Nothing(Cause.UNSETTLED, "what is installed is broken: pkg has no RECORD"),
        Nothing(Cause.UNSETTLED, "what is installed is changing"),
        Nothing(Cause.STOPPING, "trapd stops"),
    ],
)
def test_a_disk_that_is_broken_or_changes_is_awaited_with_the_reason(means: Nothing) -> None:
    found = installed(view(means, rollout(RolloutState.COMPLETE)))
    assert (found.standing, found.why) == (Standing.AWAITED, means.why)


def test_refused_code_is_refused_though_a_later_recycle_was_complete() -> None:
    means = Nothing(Cause.REFUSED, "what is installed was refused before: it cannot start")
    found = installed(view(means, rollout(RolloutState.COMPLETE)))
    assert (found.standing, found.why) == (Standing.REFUSED, means.why)


@pytest.mark.parametrize("state", [s for s in RolloutState if not s.over])
def test_a_rollout_under_way_is_awaited_paused_or_not(state: RolloutState) -> None:
    assert installed(view(SAME, rollout(state))).standing is Standing.AWAITED


def test_a_worker_that_is_down_after_the_rollout_is_awaited() -> None:
    found = installed(view(SAME, rollout(RolloutState.COMPLETE), ready_of=1))
    assert (found.standing, found.why) == (Standing.AWAITED, "1 of 2 workers of generation 2 are ready")


@pytest.mark.parametrize("ready_of", [1, 2])
def test_a_rollout_that_failed_and_is_held_is_refused(ready_of: int) -> None:
    held = rollout(RolloutState.FAILED, reason="no progress")
    found = installed(view(SAME, held, ready_of=ready_of, good=False))
    assert (found.standing, found.why) == (Standing.REFUSED, "generation 2 was given up: no progress")


def test_what_failed_and_proved_itself_later_serves() -> None:
    assert installed(view(SAME, rollout(RolloutState.FAILED))).standing is Standing.SERVES


@pytest.mark.parametrize(("ready_of", "standing"), [(1, Standing.AWAITED), (0, Standing.SERVES)])
def test_a_pool_that_was_removed_is_waited_for_while_it_has_workers(ready_of: int, standing: Standing) -> None:
    assert installed(view(None, ready_of=ready_of)).standing is standing
