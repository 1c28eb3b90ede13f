"""The line of `systemctl status trapd`: installed code that does not run is in it, for each reason."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.support.fake_controller import FakeController, settled
from tests.support.virtual_clock import VirtualClock
from trapd.control.line import line
from trapd.model import Disk, DiskState, Refusal, Rollout, RolloutState, Scope
from trapd.rollout.intent import Cause, Nothing

CLOCK = VirtualClock()
READY = "2 of 2 workers ready"


def said(controller: FakeController) -> str:
    return line("running", controller.disk, controller.pools(), [])


def moment(wall: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(wall))


def with_installed(means: Nothing) -> FakeController:
    controller = settled(CLOCK)
    controller.disk = Disk(DiskState.SETTLED, fingerprint="f9", versions={"trap": "1.4.0"})
    controller.put("default", installed=means)
    return controller


@pytest.mark.parametrize("why", ["default@8-1 failed to start (no such module)", "undone by ann"])
def test_code_that_was_refused_or_undone_is_in_the_line_with_its_moment_and_the_remedy(why: str) -> None:
    """A moment, not an age: systemd shows the line long after it was written."""
    wall = CLOCK.wall() - 86400
    refusal = Refusal(Scope.CODE, "f9", "", why, wall)
    controller = with_installed(Nothing(Cause.REFUSED, f"it was refused before: {why}", refusal))
    assert said(controller) == (
        f"{READY}; pool default: trap 1.4.0 is installed and does not run: {why}, at {moment(wall)}; "
        "install other code, or try the same again: trapctl retry default"
    )
    controller.put("default", installed=Nothing(Cause.SAME, "it is what is installed"))
    assert said(controller) == READY


def test_a_rollout_that_is_held_is_in_the_line() -> None:
    controller, begun = settled(CLOCK), CLOCK.wall() - 60
    rollout = Rollout(3, "default", 8, 7, RolloutState.ROLLING, "trap 1.4.0", "watch", begun, CLOCK.now())
    controller.put("default", state=replace(controller.pool("default").state, rollout=rollout, paused=True))
    assert said(controller) == (
        f"{READY}; default: rolling of generation 8; pool default: it is paused, rollout 3 is held, "
        f"begun at {moment(begun)}; trapctl rollout resume default lets it go on"
    )


def test_code_that_is_held_back_because_it_is_not_whole_is_in_the_line() -> None:
    controller = settled(CLOCK)
    controller.disk = Disk(DiskState.BROKEN, "shipyard requires keel, which is not installed; install it")
    assert said(controller) == (
        f"{READY}; what is installed is broken and not rolled out: "
        "shipyard requires keel, which is not installed; install it"
    )
