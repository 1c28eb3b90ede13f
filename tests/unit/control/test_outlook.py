"""What comes next in a rollout, and which installed code waits outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.fake_controller import FakeController, settled, worker
from tests.support.virtual_clock import VirtualClock
from trapd.control.outlook import coming, held_back
from trapd.model import Disk, DiskState, Rollout, RolloutState
from trapd.rollout.gates import Closed, Gate
from trapd.rollout.intent import Cause, FromDisk, Nothing

CLOCK = VirtualClock()


def moving(state: RolloutState, workers: str) -> FakeController:
    controller = settled(CLOCK)
    rollout = Rollout(3, "default", 8, 7, state, "trap 1.4.0", "watch", 0.0, 0.0)
    pairs = [text.split() for text in workers.split(", ")]
    instances = tuple(worker(CLOCK, f"default@{name}", what) for name, what in pairs)
    fresh = replace(controller.pool("default").state, wanted=8, rollout=rollout)
    controller.put("default", state=fresh, instances=instances)
    return controller


@pytest.mark.parametrize(
    ("state", "workers", "words"),
    [
        ("pending", "7-1 ready, 7-2 ready", "one worker of generation 8 starts: the canary"),
        ("preflight", "8-1 starting, 7-1 ready, 7-2 ready", "the canary has to stay ready for 5 s"),
        ("retrial", "8-1 failed, 7-1 ready", "the canary is started once more"),
        ("canary", "8-1 ready, 7-1 ready, 7-2 ready", "1 more to follow"),
        ("rolling", "8-1 ready, 7-1 ready, 7-2 draining", "1 more to start, 1 more to drain"),
        ("rolling", "8-1 ready, 8-2 starting, 7-1 ready", "1 more to drain"),
        ("rolling", "8-1 ready, 8-2 ready, 7-1 draining", "generation 8 is complete"),
        ("complete", "8-1 ready, 8-2 ready", ""),
        ("rejected", "7-1 ready, 7-2 ready", ""),
    ],
)
def test_each_phase_says_what_comes_when_what_is_awaited_has_come(state: str, workers: str, words: str) -> None:
    assert coming(moving(RolloutState(state), workers).pool("default")) == words


@pytest.mark.parametrize(
    ("workers", "words"), [("8-1 ready, 7-1 ready", "1 more to drain"), ("8-1 ready", "generation 8 is complete")]
)
def test_after_the_only_worker_an_old_one_drains_if_there_is_one(workers: str, words: str) -> None:
    view = moving(RolloutState.CANARY, workers).pool("default")
    assert coming(replace(view, wanted_workers=1)) == words


def test_a_rollout_that_waits_says_what_lets_it_go_on() -> None:
    view = moving(RolloutState.WAITING, "8-1 ready, 7-1 ready").pool("default")
    person = "the rollout goes on when a person promotes it"
    assert coming(replace(view, gate=Closed(Gate.PROMOTION, "it was ready"))) == person
    tasks = coming(replace(view, gate=Closed(Gate.TASKS, "it lacks tasks")))
    assert tasks == f"{person}, or when no message of these tasks is left"


def test_of_a_paused_pool_nothing_comes() -> None:
    controller = moving(RolloutState.ROLLING, "8-1 ready, 7-1 ready")
    view = controller.pool("default")
    assert coming(replace(view, state=replace(view.state, paused=True))) == ""


def disk(state: DiskState = DiskState.SETTLED) -> Disk:
    return Disk(state, fingerprint="f9", versions={"trap": "1.4.0"})


def test_code_that_was_rejected_is_held_back_with_the_reason() -> None:
    view = settled(CLOCK).pool("default")
    refused = replace(view, installed=Nothing(Cause.REFUSED, "it was rejected: it does not import"))
    assert held_back(disk(), refused) == "trap 1.4.0: it was rejected: it does not import"


@pytest.mark.parametrize("cause", [Cause.SAME, Cause.UNSETTLED, Cause.STOPPING])
def test_code_that_is_wanted_or_not_known_is_not_held_back(cause: Cause) -> None:
    view = settled(CLOCK).pool("default")
    assert held_back(disk(), view) == ""
    assert held_back(disk(), replace(view, installed=Nothing(cause, "of that"))) == ""
    assert held_back(disk(), replace(view, installed=FromDisk("trap 1.4.0"))) == ""


def test_code_that_is_being_installed_is_not_held_back() -> None:
    view = replace(settled(CLOCK).pool("default"), installed=Nothing(Cause.PAUSED, "the pool is paused"))
    assert held_back(disk(DiskState.CHANGING), view) == ""
