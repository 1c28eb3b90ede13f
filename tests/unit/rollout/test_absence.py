"""A reboot, and a trapd that was killed, stand in the history."""

from __future__ import annotations

import pytest

from tests.simulation.test_set_clock import YEARS
from trapd.event import Event, EventKind
from trapd.rollout.absence import absence
from trapd.system_clock import boot, same_boot

STARTED, READY = Event(100.0, EventKind.TRAPD_STARTED, "trapd"), Event(200.0, EventKind.READY, "", instance="p@1-1")
STOPPED = Event(300.0, EventKind.TRAPD_STOPPED, "asked to")


def told(*latest: Event, booted: float = 50.0, wall: float = 400.0) -> list[tuple[EventKind, float | None]]:
    return [(event.kind, event.duration) for event in absence(latest, [READY], wall, booted)]


def test_a_first_trapd_and_one_that_follows_a_stop_have_nothing_to_tell() -> None:
    assert told() == []
    assert told(STARTED, READY, STOPPED) == []


def test_a_trapd_that_was_killed_is_told_by_the_next_with_the_time_between() -> None:
    assert told(STARTED, READY) == [(EventKind.TRAPD_LOST, 200.0)]
    assert told(READY) == [], "the history does not go back to its start"


def test_a_reboot_is_told_with_the_workers_that_ran_whether_trapd_was_stopped_or_not() -> None:
    for latest in ((STARTED, READY, STOPPED), (STARTED, READY)):
        assert [kind for kind, _ in told(*latest, booted=350.0)] == [EventKind.REBOOTED]
    (event,) = absence([STARTED, READY], [READY], 400.0, 350.0)
    assert event.duration == 200.0
    assert event.reason.startswith("the machine was started 50 s ago; 1 worker ran then (p@1-1)")


def test_a_worker_that_was_started_again_before_the_reboot_is_told_once() -> None:
    """systemd restarts a killed worker while trapd is gone, too; the history then has two runs of it without an end."""
    runs = [
        READY,
        Event(210.0, EventKind.READY, "", instance="p@1-2"),
        Event(250.0, EventKind.READY, "", instance="p@1-1"),
    ]
    (event,) = absence([STARTED, READY], runs, 400.0, 350.0)
    assert "2 workers ran then (p@1-1, p@1-2)" in event.reason


def test_a_clock_that_was_set_a_little_is_no_reboot() -> None:
    assert told(STARTED, READY, STOPPED, booted=301.0) == []


@pytest.mark.parametrize("jump", [YEARS, -YEARS], ids=["forward", "back"])
def test_a_clock_that_was_set_meanwhile_makes_no_reboot_and_hides_none(jump: float) -> None:
    """Set between the last event, at 200.0, and the start of this trapd; the machine's start moves with it."""

    def since(*latest: Event, booted: float, same: bool | None) -> list[tuple[EventKind, float | None]]:
        found = absence(latest, [READY], 400.0 + jump, booted + jump, same)
        return [(event.kind, event.duration) for event in found]

    [(lost, silent)] = since(STARTED, READY, booted=50.0, same=True)
    assert lost is EventKind.TRAPD_LOST
    assert silent is not None
    assert 0 <= silent <= 350.0, "not longer than the machine runs"
    assert since(STARTED, READY, STOPPED, booted=50.0, same=True) == []
    [(kind, _)] = since(STARTED, READY, STOPPED, booted=350.0, same=False)
    assert kind is EventKind.REBOOTED


def test_which_start_of_the_machine_it_is_does_not_depend_on_the_clock_on_the_wall() -> None:
    assert boot() == boot()
    assert same_boot(boot(), boot()) is True
    for before, now, same in (
        ("a 1", "b 1", False),
        ("a 1", "a 2", False),  # a container that has its host's id
        ("a 1", "a ", True),  # hidepid
        ("", "a 1", None),  # an earlier trapd wrote none down
        (" 1", " 2", None),
    ):
        assert same_boot(before, now) is same
