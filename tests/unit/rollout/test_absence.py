"""A reboot, and a trapd that was killed, stand in the history."""

from __future__ import annotations

from trapd.event import Event, EventKind
from trapd.rollout.absence import absence

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


def test_a_clock_that_was_set_a_little_is_no_reboot() -> None:
    assert told(STARTED, READY, STOPPED, booted=301.0) == []
