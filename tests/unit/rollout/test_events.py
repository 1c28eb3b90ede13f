"""What is told of a pass: worker by worker from what was known to what is seen, then what the plan does about it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.support.builders import NOW, failure, one, spec, wanting
from trapd.event import Became, Event, EventKind, TaskEnd
from trapd.model import (
    CodeReport,
    Failure,
    FailureKind,
    Instance,
    InstanceId,
    InstanceState,
    LostChild,
    RemoteCommand,
    RolloutState,
)
from trapd.rollout import want
from trapd.rollout.actions import Action, Advance, Doubt, Drain, Forget, Kill, Plan, Promote, Start
from trapd.rollout.events import FAILURES, between, gave_way, interruptions, recalled
from trapd.rollout.view import PoolView

WALL = 1_700_000_000.0
ID = InstanceId("p", 2, 1)
STARTED, READY, DRAINING, STOPPING, FAILED = (one("2-1", state, ago=50) for state in InstanceState)
FAILED_AGAIN = replace(FAILED, since=NOW - 1, failures=2, failure=failure(1))
RECALLED = Instance(ID, InstanceState.DRAINING, since=-100.0)  # before the machine was started


def view(*instances: Instance, done: tuple[Action, ...] = (), ago: float = 0.0, good: int = 1) -> PoolView:
    state = wanting(2, good)
    return PoolView(spec(), state, instances, 2, "", done, at=NOW - ago, wall=WALL - ago)


def told(was: Instance | None, now: Instance | None, *done: Action) -> list[str]:
    before = view(*([was] if was else []), done=done, ago=3)
    after = view(*([now] if now else []))
    return [str(event.kind) for event in between(before, after, Plan())]


@pytest.mark.parametrize(
    ("was", "now", "kinds"),
    [
        (None, None, []),
        (STARTED, STARTED, []),
        (READY, READY, []),
        (FAILED, FAILED, []),
        (READY, STOPPING, []),  # how it ended is not known yet
        (STARTED, READY, ["ready"]),
        (STARTED, FAILED, ["failed"]),
        (READY, FAILED, ["failed"]),
        (STOPPING, FAILED, ["failed"]),
        (DRAINING, None, ["gone"]),
        (STOPPING, None, ["gone"]),
        (READY, None, ["gone"]),
        (FAILED, None, ["forgot"]),
        # what trapd did not do
        (None, STARTED, ["started"]),
        (None, READY, ["started", "ready"]),
        (None, FAILED, ["started", "failed"]),
        (READY, DRAINING, ["draining"]),
        (FAILED, FAILED_AGAIN, ["started", "failed"]),
        (READY, replace(STARTED, failures=1, failure=failure(1)), ["failed", "started"]),  # by systemd
        (READY, replace(READY, since=NOW - 1, ready_at=NOW - 1), ["gone", "started", "ready"]),
        (DRAINING, replace(READY, since=NOW - 1, ready_at=NOW - 1), ["gone", "started", "ready"]),
        (DRAINING, READY, ["ready"]),  # the trapd before told so, and ended before it did it
        # the machine went down between
        (RECALLED, None, ["lost"]),
        (RECALLED, READY, ["lost", "started", "ready"]),
    ],
)
def test_what_lies_between_two_looks(was: Instance | None, now: Instance | None, kinds: list[str]) -> None:
    assert told(was, now) == kinds


@pytest.mark.parametrize(
    ("was", "now", "done", "kinds"),
    [
        (None, STARTED, Start(ID, "x"), []),
        (None, READY, Start(ID, "x"), ["ready"]),
        (None, None, Start(ID, "x"), ["gone"]),
        (FAILED, FAILED_AGAIN, Start(ID, "x"), ["failed"]),
        (READY, DRAINING, Drain(ID, "x"), []),
        (READY, None, Drain(ID, "x"), ["gone"]),
        (DRAINING, None, Kill(ID, "x"), ["gone"]),
        (FAILED, None, Forget(ID, "x"), []),
    ],
)
def test_what_trapd_did_itself_is_told_once(
    was: Instance | None, now: Instance | None, done: Action, kinds: list[str]
) -> None:
    assert told(was, now, done) == kinds


def test_each_kind_of_failure_is_a_kind_of_event() -> None:
    assert set(FAILURES) == set(FailureKind)
    assert all(kind.failure for kind in FAILURES.values())
    killed = replace(FAILED, failure=failure(1, FailureKind.MEMORY))
    (event,) = between(view(READY, ago=3), view(killed), Plan())
    assert (event.kind, event.actor, event.reason) == (EventKind.OOM_KILLED, "outside", "ImportError: no")
    assert event.detail == "Traceback ..."


def test_times_and_durations_are_those_of_what_happened() -> None:
    ready, gone = between(
        view(replace(STARTED, since=NOW - 30), one("1-1", "draining", ago=40), ago=5),
        view(replace(READY, ready_at=NOW - 2)),
        Plan(),
    )[::-1]
    assert (ready.kind, ready.wall, ready.duration) == (EventKind.READY, WALL - 2, 28.0)
    assert (gone.reason, gone.wall, gone.duration) == ("left 40.0 s after it was asked to", WALL, 40.0)
    assert (gone.pool, gone.instance, gone.generation, gone.rollout) == ("p", "p@1-1", 1, 1)


def test_a_worker_told_to_leave_a_moment_ago_left_a_moment_after() -> None:
    """Not the whole time for which it was ready: its unit may go between two looks."""
    (gone,) = between(view(READY, done=(Drain(ID, "x"),), ago=0.1), view(), Plan())
    assert gone.duration == 0.1
    assert gone.reason == "left 0.1 s after it was asked to"


def test_how_long_a_worker_that_crashed_had_been_ready() -> None:
    crashed = replace(FAILED, failure=Failure(FailureKind.CRASH, "killed by SIGSEGV", "", NOW - 10))
    (event,) = between(view(READY, ago=3), view(crashed), Plan())
    assert (event.kind, event.duration) == (EventKind.CRASHED, 40.0)


def test_the_plan_is_told_after_what_was_seen_in_its_own_order() -> None:
    plan = Plan((Advance(RolloutState.ROLLING, "good"), Drain(InstanceId("p", 1, 1), "takes over")))
    seen = view(one("1-1", ago=200), READY)
    events = between(view(one("1-1", ago=200), STARTED, ago=3), seen, plan)
    assert [str(event.kind) for event in events] == ["ready", "rolling", "draining"]
    assert [event.duration for event in events] == [0.0, None, 200.0]
    (promoted,) = between(seen, replace(seen, wall=60.0), Plan((Promote(2, "because"),)))
    assert (promoted.duration, promoted.rollout, promoted.generation) == (60.0, 1, 2)
    (doubted,) = between(seen, replace(seen, wall=60.0), Plan((Doubt(2, "because"),)))
    assert doubted.duration is None, "its kind says of what it would be one"


def test_history_is_read_back_as_the_workers_that_it_knows() -> None:
    def event(kind: EventKind, ago: float, reason: str = "x") -> Event:
        return Event(WALL - ago, kind, reason, pool="p", generation=2, instance="p@2-1")

    told = [event(EventKind.HUNG, 90, "stood still"), event(EventKind.STARTED, 80)]
    (instance,) = recalled(told, NOW, WALL, 0.0)
    assert (instance.id, instance.state, instance.since) == (ID, InstanceState.STARTING, NOW - 80)
    assert instance.failure == Failure(FailureKind.WATCHDOG, "stood still", "", NOW - 90)
    known = replace(STARTED, failures=1, failure=replace(instance.failure, at=NOW - 90.1))
    assert between(view(instance), view(known), Plan()) == (), "it is no other failure"
    (early,) = recalled([event(EventKind.DRAINING, NOW + 5)], NOW, WALL, 0.0)
    assert early.since == -5.0


def test_a_restarted_trapd_knows_which_drains_were_interrupted() -> None:
    events = [
        Event(WALL - 3, EventKind.INTERRUPTED, "because", instance="p@1-1"),
        Event(WALL - 3, EventKind.KILLED, "because", instance="p@1-2"),
        Event(WALL - 3, EventKind.DRAINING, "because", instance="p@1-3"),
    ]
    first, second = InstanceId("p", 1, 1), InstanceId("p", 1, 2)
    assert interruptions(events, NOW, WALL) == {first: NOW - 3, second: -math.inf}


def test_a_worker_of_before_the_containers_start_is_lost_though_the_clock_went_on() -> None:
    before, after = (Event(WALL - ago, EventKind.READY, "x", pool="p", instance="p@2-1") for ago in (30, 10))
    (lost,), (still,) = (recalled([event], NOW, WALL, booted=NOW - 20) for event in (before, after))
    assert told(lost, replace(READY, since=NOW - 15, ready_at=NOW - 15)) == ["lost", "started", "ready"]
    assert told(still, replace(READY, since=NOW - 10, ready_at=NOW - 10)) == []


def test_a_rollout_that_a_trigger_makes_void_ends_once() -> None:
    rolling = wanting(2, 1, phase=RolloutState.ROLLING)
    (event,) = gave_way(rolling, want.go_back(rolling, "the good code is installed again", WALL), "watch", NOW, WALL)
    assert (event.kind, event.reason) == (EventKind.SUPERSEDED, "the good code is installed again")
    held = wanting(2, 1, phase=RolloutState.FAILED)
    assert gave_way(held, want.go_back(held, "the good code is installed again", WALL), "watch", NOW, WALL) == []
    assert gave_way(rolling, rolling, "watch", NOW, WALL) == []


def under_control(instance: Instance, *commands: tuple[str, float]) -> Instance:
    """A worker whose report has these commands of remote control, and how long ago each came."""
    remote = tuple(RemoteCommand(command, WALL - ago) for command, ago in commands)
    return replace(instance, report=CodeReport(2, "", {}, remote=remote))


LIMIT, CANCEL = ("rate_limit('t', '1/s')", 9.0), ("cancel_consumer('q')", 2.0)


@pytest.mark.parametrize(
    ("was", "now", "reasons"),
    [
        (STARTED, under_control(READY, LIMIT), [LIMIT[0]]),
        (under_control(READY), under_control(READY, LIMIT, CANCEL), [LIMIT[0], CANCEL[0]]),
        (under_control(READY, LIMIT), under_control(READY, LIMIT), []),
        (under_control(READY, LIMIT), under_control(READY, LIMIT, CANCEL), [CANCEL[0]]),
        (under_control(READY, LIMIT, CANCEL), under_control(READY, LIMIT), []),  # it was taken back
        (under_control(READY, LIMIT), replace(READY, report=None), []),  # its report cannot be read
    ],
)
def test_each_command_by_remote_control_is_told_once_at_its_own_time(
    was: Instance, now: Instance, reasons: list[str]
) -> None:
    times = {command: WALL - ago for command, ago in (LIMIT, CANCEL)}
    events = [e for e in between(view(was, ago=3), view(now), Plan()) if e.kind is EventKind.REMOTE]
    assert [(event.reason, event.wall) for event in events] == [(reason, times[reason]) for reason in reasons]
    assert {event.actor for event in events} <= {"outside"}


@pytest.mark.parametrize(
    ("because", "reasons"),
    [
        ("", ["was asked to leave by systemd or a person"]),
        (", because: shutdown by remote control", ["shutdown", "leaves: shutdown by remote control"]),
        (", because: RabbitMQ closed its channel", ["leaves: RabbitMQ closed its channel"]),
    ],
)
def test_why_a_worker_leaves_that_trapd_did_not_ask(because: str, reasons: list[str]) -> None:
    leaving = replace(DRAINING, status=f"draining, 1 active{because}")
    assert [event.reason for event in between(view(READY, ago=3), view(leaving), Plan())] == reasons


def test_a_trapd_that_is_started_again_tells_only_the_commands_that_came_since() -> None:
    past = [
        Event(WALL - 50, EventKind.READY, "", pool="p", generation=2, instance="p@2-1"),
        Event(WALL - 9, EventKind.REMOTE, LIMIT[0], pool="p", generation=2, instance="p@2-1"),
    ]
    (was,) = recalled(past, NOW, WALL, 0.0)
    after = view(under_control(READY, LIMIT, CANCEL))
    reasons = [e.reason for e in between(view(was), after, Plan()) if e.kind is EventKind.REMOTE]
    assert reasons == [CANCEL[0]]


def test_processes_that_were_killed_are_told_once_also_after_a_restart_of_trapd() -> None:
    def with_lost(*children: LostChild) -> Instance:
        return replace(READY, report=CodeReport(2, "", {}, lost=children))

    first = LostChild("proj.add", "id-1", "signal 11 (SIGSEGV)", WALL - 9)
    second = LostChild("proj.hold", "id-2", "signal 9 (SIGKILL)", WALL - 8, memory=True)
    lost, killed = between(view(READY), view(with_lost(first, second)), Plan())
    assert (lost.kind, lost.wall, lost.reason) == (
        EventKind.CHILD_LOST,
        WALL - 9,
        "the process that ran proj.add[id-1] ended by signal 11 (SIGSEGV)",
    )
    assert lost.tasks == (TaskEnd("id-1", "proj.add", Became.UNKNOWN),)
    assert killed.kind is EventKind.CHILD_OOM_KILLED
    assert killed.reason == "the process that ran proj.hold[id-2] was killed by the kernel: out of memory"
    assert between(view(with_lost(first)), view(with_lost(first)), Plan()) == ()
    ready = Event(WALL - 50, EventKind.READY, "", pool="p", generation=2, instance="p@2-1")
    (known,) = recalled([ready, lost, killed], NOW, WALL, 0.0)
    third = replace(second, wall=WALL - 1)
    (again,) = between(view(known), view(with_lost(first, second, third)), Plan())
    assert again.wall == WALL - 1
