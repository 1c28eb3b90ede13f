"""The grid: every cell decided, every cell visited."""

from __future__ import annotations

import math

import pytest

from tests.support.builders import NOW, one, spec
from trapd.model import InstanceState
from trapd.rollout.instances import GRID, INTERRUPT_GRACE, Desire, step

VERB = {"start after backoff": "start", "drain": "drain", "kill": "kill", "forget": "forget"}


def test_the_grid_is_full() -> None:
    assert set(GRID) == {(d, s) for d in Desire for s in InstanceState}


@pytest.mark.parametrize("desire", Desire)
@pytest.mark.parametrize("state", InstanceState)
def test_every_cell_does_what_it_says(desire: Desire, state: InstanceState) -> None:
    action, wake_at = step(desire, one("1-1", state, ago=100), spec().policy, NOW, "because")
    assert (action.verb if action else None) == VERB.get(GRID[desire, state])
    assert wake_at is None
    assert action is None or action.why == "because"


def test_a_drain_past_its_timeout_is_interrupted_once_and_killed_a_while_later() -> None:
    policy, drains = spec(drain_timeout=60).policy, one("1-1", "draining", ago=100)

    def at(now: float, interrupted_at: float | None) -> tuple[str | None, float | None]:
        action, wake_at = step(Desire.RUN, drains, policy, now, "", interrupted_at=interrupted_at)
        return action.verb if action else None, wake_at

    assert at(NOW, None) == ("interrupt", NOW)
    assert at(NOW, NOW) == (None, NOW + INTERRUPT_GRACE)
    assert at(NOW + INTERRUPT_GRACE, NOW) == ("kill", None)
    assert at(NOW, -math.inf) == ("kill", None)  # no task could be interrupted


def test_a_restart_waits_for_its_backoff() -> None:
    action, wake_at = step(Desire.RUN, one("1-1", "failed", ago=0.1), spec().policy, NOW, "")
    assert action is None
    assert wake_at is not None
    assert NOW < wake_at < NOW + 1.5
