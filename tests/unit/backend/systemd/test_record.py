"""An instance's life, as PID 1 tells it step by step (the steps were taken down from systemd 252)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trapd.backend.systemd.facts import Facts
from trapd.backend.systemd.record import Record
from trapd.backend.words import hangs_on
from trapd.contracts import FRESH_AGAIN
from trapd.model import InstanceId, InstanceState

ONE = InstanceId("default", 7, 1)
S = InstanceState

QUEUED = Facts("inactive", "dead", job=1, invocation="a", pid=5, last_pid=5, started=10.0)
STARTING = replace(QUEUED, active="activating", sub="start", changed=10.1, began=10.1)
READY = replace(STARTING, active="active", sub="running", job=0, changed=12.0, ready=12.0, text="ready, 3 active")
ASKED = replace(READY, job=2)
DRAINING = replace(ASKED, active="deactivating", sub="stop-sigterm", changed=15.0)
END = replace(DRAINING, active="inactive", sub="dead", pid=0, code=1, changed=18.0, ended=18.0)
GONE = replace(END, job=0)
CRASHED = replace(READY, active="failed", sub="failed", pid=0, code=1, status=1, result="exit-code", ended=14.0)
WAITING = replace(CRASHED, active="activating", sub="auto-restart", began=14.001)
AGAIN = replace(WAITING, restarts=1, job=3)
SECOND = replace(STARTING, invocation="b", restarts=1, job=3, pid=6, last_pid=6, started=16.0, began=16.1, ready=12.0)
SECOND_READY = replace(SECOND, active="active", sub="running", job=0, ready=17.0)


def received(*steps: Facts, now: float = 20.0, record: Record | None = None) -> Record:
    record = record or Record(ONE)
    for facts in steps:
        record.receive(facts, now)
    return record


def states(*steps: Facts) -> list[InstanceState | None]:
    record = Record(ONE)
    return [received(facts, record=record).state for facts in steps]


def test_a_clean_life() -> None:
    told = states(QUEUED, STARTING, replace(READY, job=1), READY, ASKED, DRAINING, END, GONE)
    assert told == [S.STARTING, S.STARTING, S.STARTING, S.READY, S.READY, S.DRAINING, S.DRAINING, None]
    assert received(QUEUED, STARTING, READY, ASKED, DRAINING, END, GONE).done_with


def test_a_restart_by_hand_is_never_absent() -> None:
    again = replace(SECOND, restarts=0, job=2)
    told = states(READY, ASKED, DRAINING, END, replace(END, invocation="b", pid=6), again, SECOND_READY)
    assert told == [S.READY, S.READY, S.DRAINING, S.DRAINING, S.DRAINING, S.STARTING, S.READY]


def test_what_is_shown_of_a_ready_one() -> None:
    instance = received(STARTING, READY).view()
    assert instance is not None
    assert (instance.since, instance.ready_at, instance.pid) == (12.0, 12.0, 5)
    assert (instance.active_tasks, instance.status) == (3, "ready, 3 active")


def test_what_is_shown_of_a_draining_one() -> None:
    instance = received(STARTING, READY, ASKED, DRAINING).view()
    assert instance is not None
    assert (instance.since, instance.ready_at, instance.active_tasks) == (15.0, 12.0, 3)


def test_of_one_that_died_it_is_known_when_it_was_ready() -> None:
    """Or its crash has no duration."""
    dying = received(STARTING, READY, replace(READY, active="deactivating", sub="stop-sigterm", pid=0, result="signal"))
    instance = dying.view()
    assert instance is not None
    assert (instance.state, instance.ready_at, instance.pid) == (S.STOPPING, 12.0, None)


def test_a_drain_that_systemd_ends_says_so_and_is_no_failure() -> None:
    """TimeoutStopFailureMode=abort; between this and the end PID 1 may tell nothing more."""
    hung = replace(DRAINING, sub="stop-watchdog", result="timeout", changed=75.0)
    record = received(STARTING, READY, ASKED, DRAINING, hung)
    instance = record.view()
    assert instance is not None
    assert (instance.state, instance.status) == (S.STOPPING, hangs_on())
    received(replace(hung, active="failed", sub="failed", job=0, pid=0, code=3, status=6, ended=76.0), record=record)
    assert (record.state, record.failures, record.unexplained) == (None, 0, False)


def test_what_is_shown_of_a_failed_one() -> None:
    instance = received(STARTING, READY, CRASHED).view()
    assert instance is not None
    assert (instance.since, instance.ready_at, instance.pid, instance.active_tasks) == (14.0, None, None, None)


def test_what_waits_for_systemd_to_restart_it_shows_nothing_of_its_last_run() -> None:
    instance = received(STARTING, READY, CRASHED, WAITING).view()
    assert instance is not None
    assert (instance.state, instance.since, instance.status) == (S.STARTING, 14.001, "")
    assert (instance.ready_at, instance.pid, instance.active_tasks) == (None, None, None)


def test_passwords_in_a_status_are_masked() -> None:
    instance = received(replace(READY, text="no amqp://u:secret@h")).view()
    assert instance is not None
    assert instance.status == "no amqp://u:***@h"


# --- who asked ------------------------------------------------------------------------------------------------------


def test_one_that_leaves_unasked_is_failed_though_systemd_forgets_it() -> None:
    record = received(STARTING, READY, replace(END, job=0))
    assert (record.state, record.failures, record.unexplained, record.done_with) == (S.FAILED, 1, True, False)


def test_one_that_said_that_it_leaves_was_asked() -> None:
    assert received(READY, replace(DRAINING, job=0), replace(END, job=0)).state is None


def test_a_start_that_takes_too_long_was_not_asked_to_leave() -> None:
    late = replace(STARTING, active="deactivating", sub="stop-watchdog", result="timeout")
    record = received(STARTING, late, replace(late, active="failed", sub="failed", pid=0, ended=11.0))
    assert (record.asked, record.state, record.failures) == (False, S.FAILED, 1)


def test_one_reset_by_hand_is_gone() -> None:
    assert received(READY, CRASHED, replace(CRASHED, active="inactive", sub="dead", result="success")).done_with


def test_one_stopped_while_it_waited_for_its_restart_is_gone() -> None:
    stopped = replace(WAITING, active="inactive", sub="dead", job=0)
    assert received(READY, CRASHED, WAITING, replace(WAITING, job=4), replace(stopped, job=4), stopped).done_with


def test_one_that_ended_unheard_is_gone_and_no_failure() -> None:
    record = received(READY)
    record.unload(30.0)
    assert (record.done_with, record.failures) == (True, 0)


def test_one_whose_unit_was_loaded_anew_ended_unheard_and_is_no_failure() -> None:
    """So it is told after a stop whose answer was lost, and that was asked again when it was over."""
    record = received(READY, Facts("inactive", "dead"))
    assert (record.state, record.done_with, record.failures) == (None, True, 0)


# --- what we asked --------------------------------------------------------------------------------------------------


def test_a_wish_is_shown_until_systemd_has_begun() -> None:
    record = Record(ONE, wish=S.STARTING)
    assert record.state is S.STARTING
    assert received(QUEUED, record=record).wish is S.STARTING
    assert received(STARTING, record=record).wish is None
    record = received(READY)
    record.wish = S.DRAINING
    assert record.state is S.DRAINING
    assert received(ASKED, record=record).state is S.DRAINING
    assert received(DRAINING, record=record).wish is None


def test_a_failed_one_that_is_started_again_stays_known_while_it_is_reset() -> None:
    record = received(READY, CRASHED)
    record.wish = S.STARTING
    received(replace(CRASHED, active="inactive", sub="dead", result="success"), record=record)
    assert (record.state, record.done_with, record.failures) == (S.STARTING, False, 1)


def test_a_killed_one_is_failed_however_it_ended() -> None:
    for end in (replace(CRASHED, job=2, result="signal", code=2, status=9), replace(END, job=0)):
        record = received(READY)
        record.killed = True
        assert received(ASKED, DRAINING, record=record).state is S.STOPPING
        assert received(end, record=record).state is S.FAILED


def test_a_killed_one_that_exited_at_the_stop_before_the_kill_is_failed() -> None:
    record = received(READY)
    record.killed = True
    assert received(ASKED, DRAINING, END, GONE, record=record).state is S.FAILED


def test_a_draining_one_that_we_killed_is_absent_but_has_to_be_reset() -> None:
    record = received(READY, ASKED, DRAINING)
    record.killed = record.was_draining = True
    shot = received(replace(CRASHED, job=2, result="signal", code=2, status=9), record=record)
    assert (shot.state, shot.view(), shot.done_with, shot.unexplained, shot.failures) == (None, None, False, False, 0)


# --- failures in a row ----------------------------------------------------------------------------------------------


def test_a_failed_run_counts_once_however_often_it_is_told() -> None:
    assert (
        received(READY, CRASHED, CRASHED, WAITING, AGAIN, replace(AGAIN, active="inactive", sub="dead")).failures == 1
    )


def test_systemds_own_restarts_count() -> None:
    third = replace(CRASHED, invocation="b", restarts=1, started=16.0, ready=17.0, ended=18.0)
    assert received(READY, CRASHED, WAITING, AGAIN, SECOND, SECOND_READY, third).failures == 2


def test_when_systemd_gives_up_that_is_no_further_failure() -> None:
    given_up = replace(CRASHED, restarts=1)
    record = received(READY, CRASHED, WAITING, AGAIN, replace(given_up, active="inactive", job=3), given_up)
    assert (record.state, record.failures) == (S.FAILED, 1)


def test_restarts_that_nobody_saw_are_counted() -> None:
    record = received(READY)
    record.receive(replace(SECOND_READY, restarts=3), 30.0, live=False)
    assert record.failures == 3
    assert received(replace(SECOND_READY, restarts=3)).failures == 3  # likewise by a trapd that has just begun


def test_what_people_start_anew_counts_on() -> None:
    fresh = replace(SECOND, restarts=0)
    again = replace(CRASHED, invocation="b", restarts=0, started=16.0, ready=17.0, ended=18.0)
    assert received(READY, CRASHED, fresh, replace(SECOND_READY, restarts=0), again).failures == 2


@pytest.mark.parametrize(("lasted", "failures"), [(FRESH_AGAIN - 0.1, 3), (FRESH_AGAIN, 1)])
def test_a_run_that_stayed_ready_long_enough_forgives_earlier_failures(lasted: float, failures: int) -> None:
    record = Record(ONE, failures=2, counted="earlier")
    received(STARTING, READY, now=12.0, record=record)
    record.receive(replace(CRASHED, ended=12.0 + lasted), 12.0 + lasted)
    assert record.failures == failures


def test_after_a_gap_what_counts_is_when_it_ended_not_when_that_was_heard() -> None:
    record = received(STARTING, READY, now=12.0, record=Record(ONE, failures=2, counted="earlier"))
    record.receive(replace(CRASHED, ended=13.0), 500.0, live=False)
    assert record.failures == 3


def test_forgiveness_is_seen_while_it_runs() -> None:
    record = received(STARTING, READY, now=12.0, record=Record(ONE, failures=2, counted="earlier"))
    record.shown = record.view()
    for now, failures in ((12.0 + FRESH_AGAIN - 0.1, 2), (12.0 + FRESH_AGAIN, 0)):
        shown = record.shown_at(now)
        assert shown is not None
        assert shown.failures == failures


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_report_is_read_once_for_each_status_of_each_run() -> None:
    record = received(STARTING)
    assert not record.unread
    received(READY, record=record)
    assert record.unread
    record.reported = record.facts.invocation, "ready"
    assert not record.unread
    received(replace(READY, text="ready, 4 active, 2 reserved"), record=record)
    assert not record.unread, "of a busy worker that would be once a second"
    received(replace(READY, text="ready, 4 active, 1 stray modules"), record=record)
    assert record.unread


def test_a_new_run_has_no_report_yet() -> None:
    record = received(READY)
    record.reported = ("a", "ready")
    received(CRASHED, WAITING, AGAIN, SECOND, SECOND_READY, record=record)
    assert (record.report, record.unread) == (None, True)
