"""The one line about a rollout."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.support.fake_controller import FakeController, settled, worker
from tests.support.virtual_clock import VirtualClock
from trapd.control.progress import progress
from trapd.model import RolloutState

CLOCK = VirtualClock()
COUNTED = "workers are on generation 8"


def rolling(state: RolloutState, workers: str, *, paused: bool = False, waiting: str = "") -> FakeController:
    controller = settled(CLOCK)
    asyncio.run(controller.recycle(["default"], actor="root", reason="why"))
    pairs = [text.split() for text in workers.split(", ")]
    instances = tuple(worker(CLOCK, f"default@{name}", what) for name, what in pairs)
    held = replace(controller.pool("default").state, paused=paused)
    controller.put("default", state=held, instances=instances, waiting=waiting)
    controller.to("default", state, "because")
    return controller


@pytest.mark.parametrize(
    ("state", "workers", "line"),
    [
        ("preflight", "8-1 starting, 7-1 ready, 7-2 ready", "0 of 2 {} (1 starting, 2 old at work) ..."),
        ("preflight", "8-1 failed, 7-1 ready, 7-2 ready", "0 of 2 {} (1 failed, 2 old at work) ..."),
        ("rolling", "8-1 ready, 7-1 draining, 7-2 ready", "1 of 2 {} (1 draining, 1 old at work) ..."),
        ("rolling", "8-1 ready, 8-2 ready, 7-2 stopping", "2 of 2 {} (1 draining) ..."),
        ("complete", "8-1 ready, 8-2 ready", "successfully rolled out generation 8"),
        ("rejected", "7-1 ready, 7-2 ready", "generation 8 was rejected: because"),
        ("failed", "7-1 ready, 7-2 ready", "rollout of generation 8 failed: because"),
        ("superseded", "7-1 ready, 7-2 ready", "rollout of generation 8 was superseded: because"),
    ],
)
def test_it_counts_the_new_ready_ones_and_says_what_else_is_there(state: str, workers: str, line: str) -> None:
    controller = rolling(RolloutState(state), workers)
    view = controller.pool("default")
    assert view.state.rollout is not None
    assert progress(view, view.state.rollout)["message"] == f"pool default: {line.format(COUNTED)}"


def test_a_pause_shows() -> None:
    view = rolling(RolloutState.ROLLING, "8-1 ready, 7-1 ready", paused=True).pool("default")
    assert view.state.rollout is not None
    assert progress(view, view.state.rollout)["message"].endswith("(1 old at work); paused")


def test_the_numbers_are_there_for_programs() -> None:
    view = rolling(RolloutState.ROLLING, "8-1 ready, 7-1 draining, 7-2 ready", waiting="x").pool("default")
    assert view.state.rollout is not None
    said = progress(view, view.state.rollout)
    assert (said["wanted"], said["updated"], said["old"], said["draining"]) == (2, 1, 2, 1)
    assert (said["waiting"], said["rollout"]["id"]) == ("x", 1)


def test_what_is_over_waits_for_nothing() -> None:
    view = rolling(RolloutState.COMPLETE, "8-1 ready, 8-2 ready", waiting="x").pool("default")
    assert view.state.rollout is not None
    assert progress(view, view.state.rollout)["waiting"] == ""
