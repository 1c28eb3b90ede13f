"""One row, one situation: what is wanted, what is seen, what the plan does. Now is second 1000."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.builders import NOW, failure, one, spec, wanting, world
from trapd.model import Ailment, CodeReport, FailureKind, Instance, PoolState, RolloutState, TaskChanges, WorkerOrder
from trapd.rollout.actions import Renew
from trapd.rollout.plan import plan
from trapd.rollout.world import World
from trapd.spec import OnMissingTasks

R = RolloutState


def idle(name: str) -> Instance:
    status = "not consuming for 70 s: messages wait (12 in celery), and none comes, 0 active"
    return one(name, ago=200, ailment=Ailment.IDLE, status=status)


GOING = R.ROLLING
DRAINED = (WorkerOrder("p@1-1", "anna", 0.0, NOW - 50),)


def short(situation: World) -> list[str]:
    """The plan's actions as "start 2-1", "promote 2", phases left out."""
    actions = (a for a in plan(situation, NOW).actions if a.verb != "advance")
    return [
        f"{a.verb} {a.instance.generation}-{a.instance.slot}"
        if a.instance
        else f"{a.verb} {getattr(a, 'generation', '')}".strip()
        for a in actions
    ]


def mixed(name: str, ago: float) -> object:
    return one(name, ago=ago, report=CodeReport(2, "d", {}, ("pkg.x=/site-packages/pkg/x.py",)))


ROWS = {
    "nothing wanted yet, nothing done": (spec(), wanting(None), [], []),
    "first start: everybody at once": (spec(), wanting(1), [], ["start 1-1", "start 1-2"]),
    "first start: good after min_ready": (
        spec(), wanting(1), [one("1-1", ago=5), one("1-2", "starting")], ["promote 1"]),
    "first start: not good before min_ready": (spec(), wanting(1), [one("1-1", ago=4), one("1-2", ago=4)], []),
    "first start fails: again, after backoff": (
        spec(1), wanting(1), [one("1-1", "failed", ago=2)], ["start 1-1"]),
    "first start fails: not before backoff": (
        spec(1), wanting(1), [one("1-1", "failed", ago=0.1)], []),
    "boot: all of the wanted good generation at once": (
        spec(), wanting(3, 3, phase=R.COMPLETE), [], ["start 3-1", "start 3-2"]),
    "boot in mid-rollout: the last good one first, and a canary beside it": (
        spec(), wanting(2, 1), [], ["start 1-1", "start 1-2", "start 2-1"]),
    "at rest": (spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), one("1-2")], []),
    "at rest, one crashed: again after backoff": (
        spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), one("1-2", "failed", ago=2)], ["start 1-2"]),
    "at rest, one just ended: wait for how it ended": (
        spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), one("1-2", "stopping")], []),
    "first start, one just ended: wait for how it ended": (
        spec(), wanting(1), [one("1-1", "stopping"), one("1-2", "starting")], []),
    "canary just ended: wait for how it ended": (
        spec(), wanting(2, 1), [one("1-1"), one("1-2"), one("2-1", "stopping")], []),
    "at rest, one vanished: another in the lowest free slot": (
        spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-2")], ["start 1-1"]),
    "new generation: one canary only": (spec(), wanting(2, 1), [one("1-1"), one("1-2")], ["start 2-1"]),
    "canary starting: wait": (spec(), wanting(2, 1), [one("1-1"), one("1-2"), one("2-1", "starting")], []),
    "canary starting, another of its generation failed before: it makes way, and is not started again": (
        spec(surge=2), wanting(2, 1), [one("1-1"), one("1-2"), one("2-1", "starting"),
        one("2-2", "failed", ago=2, failure=failure(2, FailureKind.CRASH))], ["forget 2-2"]),
    "canary on probation: wait": (spec(), wanting(2, 1), [one("1-1"), one("1-2"), one("2-1", ago=4)], []),
    "canary proved itself": (spec(), wanting(2, 1), [one("1-1"), one("1-2"), one("2-1", ago=5)], ["promote 2"]),
    "canary with strays is never trusted": (
        spec(), wanting(2, 1), [one("1-1"), one("1-2"), mixed("2-1", 5)], ["reject 2"]),
    "canary that reports nothing: its report may be on its way": (
        spec(), wanting(2, 1), [one("1-1"), one("1-2"), one("2-1", ago=604, report=None)], []),
    "canary that reports nothing until the progress deadline is not trusted": (
        spec(), wanting(2, 1, phase=None), [one("1-1"), one("1-2"), one("2-1", ago=605, report=None)], ["reject 2"]),
    "rolling: drain one old for one ready new, and start the rest": (
        spec(3), wanting(2, 1, 2, phase=GOING), [one("1-1"), one("1-2"), one("1-3"), one("2-1")],
        ["start 2-2", "start 2-3", "drain 1-1"]),
    "rolling one after the other: drain one old for one ready new": (
        spec(draining=0), wanting(2, 1, 2, phase=GOING), [one("1-1"), one("1-2"), one("2-1")], ["drain 1-1"]),
    "rolling: so many may be there and no more": (
        spec(4, draining=1), wanting(2, 1, 2, phase=GOING),
        [one("1-1"), one("1-2"), one("1-3"), one("1-4"), one("2-1")], ["start 2-2", "drain 1-1"]),
    "rolling, surge 0: a number of draining ones holds all the same": (
        spec(surge=0, unavailable=1, draining=1), wanting(2, 1, 2, phase=GOING),
        [one("1-1", "draining"), one("2-1")], ["start 2-2"]),
    "rolling, surge 0: none beside the wanted ones by itself": (
        spec(surge=0, unavailable=1), wanting(2, 1, 2, phase=GOING), [one("1-1", "draining"), one("2-1")], []),
    "rolling: idle first, then fewest tasks": (
        spec(draining=0), wanting(2, 1, 2, phase=GOING),
        [one("1-1", active_tasks=3), one("1-2", active_tasks=1), one("2-1")], ["drain 1-2"]),
    "rolling: a draining one keeps its place in the budget": (
        spec(draining=0), wanting(2, 1, 2, phase=GOING), [one("1-1", "draining"), one("1-2"), one("2-1")], []),
    "rolling: its place is free once it is gone": (
        spec(), wanting(2, 1, 2, phase=GOING), [one("1-2"), one("2-1")], ["start 2-2"]),
    "rolling: a new one that is ready frees an old one": (
        spec(), wanting(2, 1, 2, phase=GOING), [one("1-2"), one("2-1"), one("2-2", ago=0)], ["drain 1-2"]),
    "rolling: a new one that failed before frees nobody until it is healthy": (
        spec(), wanting(2, 1, 2, phase=GOING), [one("1-2"), one("2-1"), one("2-2", ago=1, failures=1)], []),
    "rolling: a new one that is ready and not well frees nobody": (
        spec(), wanting(2, 1, 2, phase=GOING),
        [one("1-2"), one("2-1"), one("2-2", ago=9, ailment=Ailment.STALLED)], []),
    "rolled: not finished while an old one drains": (
        spec(), wanting(2, 1, 2, phase=GOING), [one("1-2", "draining"), one("2-1"), one("2-2")], []),
    "rolled: finished": (spec(), wanting(2, 1, 2, phase=GOING), [one("2-1"), one("2-2")], ["finish 2"]),
    "unavailable 1, surge 0: the canary takes one's place": (
        spec(surge=0, unavailable=1), wanting(2, 1), [one("1-1"), one("1-2", active_tasks=1)], ["drain 1-1"]),
    "unavailable 1, surge 0: and starts when it is free": (
        spec(surge=0, unavailable=1), wanting(2, 1), [one("1-2")], ["start 2-1"]),
    "a singleton is never surged": (spec(1, singleton=True), wanting(2, 1), [one("1-1")], ["drain 1-1"]),
    "a singleton starts when the old one is gone": (spec(1, singleton=True), wanting(2, 1), [], ["start 2-1"]),
    "superseded: the half-made canary is drained, the newest tried": (
        spec(surge=2), wanting(3, 1), [one("1-1"), one("1-2"), one("2-1", "starting")], ["drain 2-1", "start 3-1"]),
    "superseded canary that serves goes first, busy or not": (
        spec(1), wanting(3, 1), [one("1-1"), one("2-1", ago=9, active_tasks=1)], ["drain 2-1", "start 3-1"]),
    "superseded canary that serves goes first": (
        spec(), wanting(3, 1), [one("1-1"), one("1-2"), one("2-1")], ["drain 2-1", "start 3-1"]),
    "superseded, one after the other: its place is not free while it drains": (
        spec(draining=0), wanting(3, 1), [one("1-1"), one("1-2"), one("2-1", "draining")], []),
    "superseded again and again: drains of all generations count": (
        spec(1), wanting(4, 3), [one("1-1", "draining"), one("2-1", "draining"), one("3-1")], ["start 4-1"]),
    "superseded again and again: the canary waits when there are too many": (
        spec(1), wanting(5, 4),
        [one("1-1", "draining"), one("2-1", "draining"), one("3-1", "draining"), one("4-1")], []),
    "paused: nothing moves": (
        spec(), wanting(2, 1, 2, phase=GOING, paused=True), [one("1-1"), one("1-2"), one("2-1")], []),
    "paused: what crashed comes back": (
        spec(), wanting(2, 1, paused=True), [one("1-1"), one("1-2", "failed", ago=2)], ["start 1-2"]),
    "paused: a healthy canary is not promoted": (
        spec(), wanting(2, 1, paused=True), [one("1-1"), one("1-2"), one("2-1")], []),
    "failed and held: nothing moves": (
        spec(hold=True), wanting(2, 1, phase=R.FAILED), [one("1-1"), one("2-1"), one("2-2", "starting")], []),
    "scaled up": (spec(), wanting(1, 1, phase=R.COMPLETE, workers=3), [one("1-1"), one("1-2")], ["start 1-3"]),
    "scaled down": (spec(), wanting(1, 1, phase=R.COMPLETE, workers=1), [one("1-1"), one("1-2")], ["drain 1-2"]),
    "scaled down: whoever is ready and stays is enough": (
        spec(), wanting(1, 1, phase=R.COMPLETE, workers=1), [one("1-1"), one("1-2", ago=4, active_tasks=3)],
        ["drain 1-2"]),
    "scaled down: whoever is not healthy yet goes first, busy or not": (
        spec(), wanting(1, 1, phase=R.COMPLETE, workers=1),
        [one("1-1"), one("1-2"), one("1-3", ago=4, active_tasks=3)], ["drain 1-3", "drain 1-2"]),
    "scaled down in mid-rollout: the unready, then the old": (
        spec(), wanting(2, 1, 2, phase=GOING, workers=1),
        [one("1-1"), one("1-2"), one("2-1"), one("2-2", "starting")], ["drain 2-2", "drain 1-1", "drain 1-2"]),
    "scaled down in mid-rollout: no old one before a new one is ready": (
        spec(4), wanting(2, 1, 2, phase=GOING, workers=2), [one("1-1"), one("1-2"), one("2-1", "starting")],
        ["start 2-2"]),
    "scaled down and up in mid-rollout: what drains is not called back, and does not keep others away": (
        spec(2), wanting(2, 1, 2, phase=GOING),
        [one("1-1", "draining"), one("1-2", "draining"), one("2-1"), one("2-2", "draining")], ["start 2-3"]),
    "undone in mid-rollout: what drains is not called back, and is counted": (
        spec(2), wanting(1, 2, 1, phase=GOING),
        [one("1-1", "draining"), one("1-2", "draining"), one("2-1"), one("2-2")], ["start 1-3", "start 1-4"]),
    "scaled down in mid-canary: the good ones alone are fewer": (
        spec(4), wanting(2, 1, workers=1),
        [one("1-1", "starting"), one("1-2"), one("1-3", "failed"), one("2-1", "starting")],
        ["drain 1-1", "forget 1-3"]),
    "drained by request: no other takes its place": (
        spec(), wanting(1, 1, phase=R.COMPLETE, drained=DRAINED), [one("1-1"), one("1-2")], ["drain 1-1"]),
    "drained by request, and gone: its slot stays free": (
        spec(3), wanting(1, 1, phase=R.COMPLETE, drained=DRAINED), [one("1-2")], ["start 1-3"]),
    "drained by request while paused": (
        spec(), wanting(1, 1, phase=R.COMPLETE, drained=DRAINED, paused=True), [one("1-1"), one("1-2")], ["drain 1-1"]),
    "drained by request, the only one": (
        spec(1), wanting(1, 1, phase=R.COMPLETE, drained=DRAINED), [one("1-1")], ["drain 1-1"]),
    "drained by request after it failed: it is not started again": (
        spec(), wanting(1, 1, phase=R.COMPLETE, drained=DRAINED), [one("1-1", "failed"), one("1-2")], ["forget 1-1"]),
    "drained by request before an upgrade: one fewer": (
        spec(), wanting(2, 1, 2, phase=GOING, drained=DRAINED), [one("1-2"), one("2-1")], ["drain 1-2"]),
    "undrained while it drains: another starts": (
        spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-1", "draining"), one("1-2")], ["start 1-3"]),
    "recycled by request: new before old": (
        spec(), wanting(1, 1, phase=R.COMPLETE, recycled=DRAINED), [one("1-1"), one("1-2")], ["start 1-3"]),
    "recycled by request, the new one is ready": (
        spec(), wanting(1, 1, phase=R.COMPLETE, recycled=DRAINED), [one("1-1"), one("1-2"), one("1-3")],
        ["drain 1-1"]),
    "recycled by request: a run that began later stays": (
        spec(), wanting(1, 1, phase=R.COMPLETE, recycled=DRAINED), [one("1-1", ago=0), one("1-2")], []),
    "scaled to 0": (spec(), wanting(1, 1, phase=R.COMPLETE, workers=0), [one("1-1")], ["drain 1-1"]),
    "a drain within its timeout": (
        spec(drain_timeout=60), wanting(1, 1, phase=R.COMPLETE),
        [one("1-1"), one("1-2"), one("1-3", "draining", ago=59)], []),
    "a drain past its timeout": (
        spec(drain_timeout=60), wanting(1, 1, phase=R.COMPLETE),
        [one("1-1"), one("1-2"), one("1-3", "draining", ago=60)], ["interrupt 1-3"]),
    "one takes no tasks: another is started beside it": (
        spec(), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 1, rounds=1), [one("1-1"), idle("1-2")],
        ["start 1-3"]),
    "one takes no tasks: it goes when the other is ready": (
        spec(), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 50, rounds=1),
        [one("1-1"), idle("1-2"), one("1-3", ago=9)], ["drain 1-2"]),
    "one takes no tasks: it stays while the other starts": (
        spec(), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 50, rounds=1),
        [one("1-1"), idle("1-2"), one("1-3", "starting")], []),
    "one takes no tasks, and no surge is allowed: it makes room first": (
        spec(surge=0, unavailable=1), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 1, rounds=1),
        [one("1-1"), idle("1-2")], ["drain 1-2"]),
    "a singleton that takes no tasks goes before another is started": (
        spec(1, singleton=True), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 1, rounds=1), [idle("1-1")],
        ["drain 1-1"]),
    "all take no tasks: as many are started as there may be": (
        spec(draining=0), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 1, rounds=1),
        [idle("1-1"), idle("1-2")], ["start 1-3"]),
    "one takes no tasks: a round begins": (
        spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), idle("1-2")], ["relieve", "start 1-3"]),
    "one takes no tasks in place of another: the next round waits": (
        spec(), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 299, rounds=1), [one("1-1"), idle("1-3")], []),
    "one takes no tasks in place of another: the next round": (
        spec(), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 300, rounds=1), [one("1-1"), idle("1-3")],
        ["relieve", "start 1-2"]),
    "one takes no tasks in place of another in place of another: that waits longer": (
        spec(), wanting(1, 1, phase=R.COMPLETE, relieved_at=NOW - 300, rounds=2), [one("1-1"), idle("1-3")], []),
    "one is as old as it may be: another is started beside it": (
        replace(spec(), max_age=1000), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), one("1-2", ago=1001)],
        ["start 1-3"]),
    "one is as old as it may be: it goes when the other is ready": (
        replace(spec(), max_age=1000), wanting(1, 1, phase=R.COMPLETE),
        [one("1-1"), one("1-2", ago=1001), one("1-3", ago=9)], ["drain 1-2"]),
    "one is as old as it may be, and serves until the other is ready": (
        replace(spec(surge=0, unavailable=1), max_age=1000), wanting(1, 1, phase=R.COMPLETE),
        [one("1-1", "draining"), one("1-2", ago=1001)], []),
    "none is as old as it may be": (
        replace(spec(), max_age=1000), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), one("1-2", ago=899)], []),
    "one has outgrown its memory": (
        spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), one("1-2", ago=601, ailment=Ailment.OUTGROWN)],
        ["start 1-3"]),
    "one has outgrown its memory a moment after it was ready: that is no loop": (
        spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), one("1-2", ago=599, ailment=Ailment.OUTGROWN)], []),
    "a canary that has outgrown its memory serves": (
        spec(), wanting(2, 1), [one("1-1"), one("1-2"), one("2-1", ago=5, ailment=Ailment.OUTGROWN)], ["promote 2"]),
    "one takes no tasks, and the pool is paused": (
        spec(), wanting(1, 1, phase=R.COMPLETE, paused=True), [one("1-1"), idle("1-2")], []),
    "a rejected canary is forgotten": (
        spec(), wanting(1, 1, phase=R.COMPLETE), [one("1-1"), one("1-2"), one("2-1", "failed")], ["forget 2-1"]),
}  # fmt: skip


@pytest.mark.parametrize(("pool", "state", "seen", "expected"), ROWS.values(), ids=ROWS.keys())
def test_plan(pool: object, state: PoolState, seen: list[object], expected: list[str]) -> None:
    assert short(world(pool, state, *seen)) == expected  # type: ignore[arg-type]


BASE = [one("1-1", ago=500), one("1-2", ago=500)]
BLAME = {
    "its code failed: ask the good generation first": (
        [*BASE, one("2-1", "failed", ago=10)], ["start 1-3"]),
    "there are more of the good one than wanted: one makes room for the question": (
        [*BASE, one("1-3", ago=500), one("2-1", "failed", ago=10)], ["drain 1-3"]),
    "the good one is still starting: wait": (
        [*BASE, one("1-3", "starting", ago=5), one("2-1", "failed", ago=10)], []),
    "the good one starts: it goes, and the new one is tried again": (
        [*BASE, one("1-3", ago=5), one("2-1", "failed", ago=10)], ["drain 1-3", "start 2-1"]),
    "the good one, that the pool needs, starts: once more": (
        [one("1-1", ago=500), one("1-2", ago=5), one("2-1", "failed", ago=10)], ["start 2-1"]),
    "the good one starts, and the new one hung: rejected without another hang": (
        [*BASE, one("1-3", ago=5), one("2-1", "failed", ago=10, failure=failure(10, FailureKind.TIMEOUT))],
        ["reject 2"]),
    "the good one fails as well: not its fault, wait": (
        [*BASE, one("1-3", "failed", ago=0.1), one("2-1", "failed", ago=2)], []),
    "the good one failed as well: tried again, and the evidence is forgotten with it": (
        [*BASE, one("1-3", "failed", ago=5), one("2-1", "failed", ago=10)], ["forget 1-3", "start 2-1"]),
    "the good one failed as well, and is needed: both are tried again": (
        [one("1-1", "failed", ago=5), one("2-1", "failed", ago=40)], ["start 1-1", "start 1-2", "start 2-1"]),
    "killed once: tried again before anybody is asked": (
        [*BASE, one("2-1", "failed", ago=10, failure=failure(10, FailureKind.CRASH))], ["start 2-1"]),
    "killed three times: ask": (
        [*BASE, one("2-1", "failed", ago=10, failures=3, failure=failure(10, FailureKind.CRASH))], ["start 1-3"]),
    "an old worker that became ready before proves nothing": (
        [one("1-1", ago=500), one("1-2", ago=11), one("2-1", "failed", ago=10)], ["start 1-3"]),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "expected"), BLAME.values(), ids=BLAME.keys())
def test_blame(seen: list[object], expected: list[str]) -> None:
    assert short(world(spec(), wanting(2, 1), *seen)) == expected  # type: ignore[arg-type]


RETRIAL = {
    "not started again yet": ([one("2-1", "failed", ago=31)], ["start 2-1"]),
    "starts": ([one("2-1", "starting", ago=20)], []),
    "fails again": ([one("2-1", "failed", ago=5, failures=2)], ["reject 2"]),
    "killed, though once: it had its tries": (
        [one("2-1", "failed", ago=5, failure=failure(5, FailureKind.CRASH))], ["reject 2"]),
    "fails again, and the good one with it": (
        [one("1-3", "failed", ago=4), one("2-1", "failed", ago=5, failures=2)], ["forget 1-3", "start 2-1"]),
    "ready": ([one("2-1", ago=2)], []),
    "healthy": ([one("2-1", ago=9)], ["promote 2"]),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "expected"), RETRIAL.values(), ids=RETRIAL.keys())
def test_retrial(seen: list[object], expected: list[str]) -> None:
    """Since 30 s ago."""
    state = wanting(2, 1, phase=R.RETRIAL)
    assert state.rollout is not None
    state = replace(state, rollout=replace(state.rollout, progressed_at=NOW - 30))
    assert short(world(spec(), state, *BASE, *seen)) == expected  # type: ignore[arg-type]


def test_an_eager_pool_needs_no_workers_and_its_rollout_is_over() -> None:
    assert short(world(spec(), wanting(1), eager=True)) == ["finish 1"]


@pytest.mark.parametrize("eager", [False, True])
def test_after_the_end_of_a_rollout_without_workers_there_is_another_look_at_once(eager: bool) -> None:
    thought = plan(world(spec(), replace(wanting(1), workers=0), eager=eager), NOW)
    assert [action.verb for action in thought.actions] == ["finish"]
    assert thought.wake_at == NOW, "what was done would be shown as what is still to come"


def test_a_pool_that_is_to_have_no_workers_says_who_wants_none() -> None:
    by_person = replace(wanting(1, 1, phase=R.COMPLETE), workers=0)
    assert [a.why for a in plan(world(spec(), by_person, one("1-1")), NOW).actions] == ["scaled to 0"]
    removed = replace(wanting(1, 1, phase=R.COMPLETE), workers=None)
    assert [a.why for a in plan(world(spec(0), removed, one("1-1")), NOW).actions] == ["no workers are configured"]


def test_without_code_a_pool_waits_for_something_that_has_a_name() -> None:
    assert plan(world(spec(), wanting(None)), NOW).waiting == "the code on disk to settle"  # after "waits for"


def test_while_the_machine_goes_down_nothing_is_done_and_nobody_judged() -> None:
    seen = [one("1-1", "draining"), one("2-1", "failed", failures=9), one("1-2", "failed")]
    thought = plan(replace(world(spec(), wanting(2, 1), *seen, stopping=True), going_down=True), NOW)
    assert (thought.actions, thought.wake_at) == ((), None)
    assert thought.waiting == "the machine to go down; each worker drains by itself"


def test_a_stopping_pool_only_drains() -> None:
    situation = world(spec(), wanting(2, 1), one("1-1"), one("2-1", "starting"), one("1-2", "failed"), stopping=True)
    assert short(situation) == ["drain 1-1", "drain 2-1", "forget 1-2"]


def test_a_generation_without_its_snapshot_is_not_started() -> None:
    situation = world(spec(), wanting(2, 1), one("1-1"), one("1-2"), usable=frozenset({1}))
    assert short(situation) == []
    assert "snapshot of generation 2" in plan(situation, NOW).waiting


def test_a_lost_snapshot_falls_back_to_the_good_one_before() -> None:
    situation = world(spec(), wanting(2, 1, 2, phase=R.COMPLETE), one("2-2", "failed"), usable=frozenset({1}))
    assert short(situation) == ["start 1-1", "start 1-2"]
    assert "snapshot of generation 2, which is lost" in plan(situation, NOW).waiting


def test_while_workers_of_a_generation_run_its_lost_snapshot_changes_nothing() -> None:
    state = wanting(2, 1, 2, phase=R.COMPLETE)
    assert short(world(spec(), state, one("2-1"), one("2-2"), usable=frozenset({1}))) == []


def test_a_singleton_is_never_more_than_one_whatever_it_was_scaled_to() -> None:
    scaled = replace(wanting(1, 1, phase=R.COMPLETE), workers=2)
    assert short(world(spec(1, singleton=True), scaled, one("1-1"))) == []


def test_an_outage_in_mid_rolling_is_not_blamed_on_the_code() -> None:
    state = wanting(2, 1, 2, phase=GOING)
    assert state.rollout is not None
    late = replace(state, rollout=replace(state.rollout, progressed_at=NOW - 9999))
    waits = one("2-2", "starting", ago=9999, status="broker unreachable for 9999 s, 0 active")
    assert short(world(spec(), late, one("1-2"), one("2-1", ago=9999), waits)) == []
    loops = replace(waits, failures=5, failure=failure(9))  # started again and again: that is no waiting
    assert short(world(spec(), late, one("1-2"), one("2-1", ago=9999), loops)) == ["fail 2"]


def test_a_canary_that_cannot_reach_its_broker_is_neither_promoted_nor_blamed() -> None:
    """It says READY once it has connected; what it can do is seen only while it can reach whom it needs."""
    away = one("2-1", ago=9999, ailment=Ailment.CUT_OFF)
    held_up = world(spec(), wanting(2, 1), one("1-1"), one("1-2"), away)
    assert short(held_up) == []
    assert plan(held_up, NOW).waiting == "p@2-1 to reach its broker"
    back = replace(away, ailment=None)
    assert short(world(spec(), wanting(2, 1), one("1-1"), one("1-2"), back)) == ["promote 2"]


def test_workers_that_cannot_reach_their_broker_hold_a_rollout_up_and_do_not_fail_it() -> None:
    state = wanting(2, 1, 2, phase=GOING)
    assert state.rollout is not None
    late = replace(state, rollout=replace(state.rollout, progressed_at=NOW - 9999))
    away = one("2-1", ago=9999, ailment=Ailment.CUT_OFF)
    assert short(world(spec(), late, one("1-2"), one("1-3"), away)) == ["start 2-2"]


def test_a_canary_that_its_broker_ends_is_started_again_and_never_blamed() -> None:
    """RabbitMQ closes the channel of whoever holds a long task: so it would with any code."""
    by_broker = replace(failure(100), kind=FailureKind.BROKER)
    ended = one("2-1", "failed", ago=100, failures=9, failure=by_broker)
    fresh = one("1-1", ago=50)
    for phase in (GOING, R.RETRIAL):
        state = wanting(2, 1, phase=phase)
        assert state.rollout is not None
        late = replace(state, rollout=replace(state.rollout, progressed_at=NOW - 9999))
        assert "start 2-1" in short(world(spec(), late, fresh, one("1-2"), ended))


def test_no_progress_until_the_deadline_fails_the_rollout() -> None:
    state = wanting(2, 1, 2, phase=GOING)
    stuck = [one("1-2"), one("2-1", ago=600), one("2-2", "failed", ago=1, failures=9)]
    early = PoolState("p", 2, (1, 2), rollout=state.rollout)
    assert short(world(spec(), early, *stuck)) == []
    assert state.rollout is not None
    late = replace(early, rollout=replace(state.rollout, progressed_at=NOW - 600))
    old = [one("1-2"), one("2-1", ago=700), one("2-2", "failed", ago=1, failures=9)]
    assert short(world(spec(), late, *old)) == ["fail 2"]


def test_the_plan_waits_for_a_report_until_the_progress_deadline() -> None:
    thought = plan(world(spec(), wanting(2, 1), one("1-1"), one("1-2"), one("2-1", ago=6, report=None)), NOW)
    assert thought.waiting == "p@2-1 to report which code it loaded"
    assert thought.wake_at == NOW + 600


def test_waiting_for_a_drain_is_no_lack_of_progress() -> None:
    state = wanting(2, 1, 2, phase=GOING)
    assert state.rollout is not None
    late = replace(state, rollout=replace(state.rollout, progressed_at=NOW - 9999))
    seen = [one("1-2", "draining", ago=9000), one("2-1", ago=9999), one("2-2", ago=9999)]
    assert short(world(spec(), late, *seen)) == []


def test_each_action_says_why_and_phases_are_named() -> None:
    thought = plan(world(spec(), wanting(2, 1), one("1-1"), one("1-2")), NOW)
    preflight = "preflight: the first new worker imports the code and connects"
    assert [str(a) for a in thought.actions] == [preflight, "start p@2-1: canary of generation 2"]
    thought = plan(world(spec(), wanting(2, 1), one("1-1"), one("1-2"), one("2-1", "starting")), NOW)
    assert [str(a) for a in thought.actions] == [preflight], "also if trapd ended before it was written down"


def test_phases_are_named_before_what_is_done_in_them() -> None:
    seen = [one("1-1"), one("1-2"), one("2-1")]
    rolling = plan(world(spec(), wanting(2, 1, 2, phase=RolloutState.CANARY), *seen), NOW).actions
    assert [a.verb for a in rolling] == ["advance", "start", "drain"]


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_pool_at_rest_under_other_settings_is_renewed_beside_whatever_else_is_due(workers: int, paused: bool) -> None:
    other = "settings of the pool changed"
    state = wanting(1, 1, phase=RolloutState.COMPLETE, paused=paused)
    seen = one("1-1"), one("1-2", "failed", ago=900)
    before = plan(world(spec(workers), state, *seen), NOW)
    after = plan(world(spec(workers), state, *seen, other_settings=other), NOW)
    assert before.actions
    assert after.actions == (*before.actions, Renew(1, other))


@pytest.mark.parametrize(
    "situation",
    [
        world(spec(), wanting(2, 1), one("1-1"), one("1-2"), other_settings="other"),
        world(spec(), wanting(1, 1, phase=RolloutState.COMPLETE), one("1-1"), stopping=True, other_settings="other"),
        world(spec(), wanting(1, 1, phase=None), one("1-1"), one("1-2")),
    ],
    ids=["in a rollout", "trapd stops", "the same settings"],
)
def test_no_other_pool_is_renewed(situation: World) -> None:
    assert not [action for action in plan(situation, NOW).actions if isinstance(action, Renew)]


def test_the_plan_says_when_to_look_again() -> None:
    thought = plan(world(spec(), wanting(2, 1), one("1-1"), one("1-2"), one("2-1", ago=2)), NOW)
    assert thought.wake_at == NOW + 3
    assert thought.waiting == "p@2-1 to stay healthy"


@pytest.mark.parametrize("kind", [FailureKind.CODE, FailureKind.CRASH, FailureKind.MEMORY])
def test_a_good_worker_that_fails_in_its_start_clears_the_canary(kind: FailureKind) -> None:
    canary = one("2-1", "failed", ago=2, failures=3)
    witness = one("1-3", "failed", ago=1, failure=failure(1, kind))
    rolling = wanting(2, 1, phase=R.PREFLIGHT)
    waiting = plan(world(spec(), rolling, one("1-1"), one("1-2"), canary, witness), NOW).waiting
    assert "the environment to recover: generation 1 does not start either (ImportError: no)" in waiting


def test_a_good_worker_that_served_and_crashed_says_nothing_of_starts() -> None:
    """It may have been ready for days: a fresh start of the good generation is asked, as without that crash."""
    canary = one("2-1", "failed", ago=2, failures=3)
    crashed = one("1-2", "failed", ago=1, failure=failure(1, FailureKind.CRASH, was_ready=True))
    rolling = wanting(2, 1, phase=R.PREFLIGHT)
    thought = plan(world(spec(), rolling, one("1-1"), crashed, canary), NOW)
    assert "the environment" not in thought.waiting
    starts = {str(action.instance): action.why for action in thought.actions}
    assert starts["p@1-3"] == "does the last good generation still start?"


def test_what_failed_after_its_start_is_compared_with_the_like() -> None:
    canary = one("2-1", "failed", ago=2, failures=3, failure=failure(2, FailureKind.CRASH, was_ready=True))
    crashed = one("1-2", "failed", ago=1, failure=failure(1, FailureKind.CRASH, was_ready=True))
    rolling = wanting(2, 1, phase=R.PREFLIGHT)
    waiting = plan(world(spec(), rolling, one("1-1"), crashed, canary), NOW).waiting
    assert "the environment to recover: generation 1 failed as well (ImportError: no)" in waiting


@pytest.mark.parametrize(("was_ready", "words"), [(False, "p@2-1 failed to start ("), (True, "p@2-1 failed (")])
def test_failed_to_start_is_not_said_of_what_was_ready(was_ready: bool, words: str) -> None:
    canary = one("2-1", "failed", ago=2, failures=3, failure=failure(2, FailureKind.CRASH, was_ready=was_ready))
    state = wanting(2, 1, phase=R.RETRIAL)
    assert state.rollout is not None
    state = replace(state, rollout=replace(state.rollout, progressed_at=NOW - 10))
    (verdict,) = plan(world(spec(), state, one("1-1"), one("1-2"), canary), NOW).actions
    assert verdict.why.startswith(words)


def holding(*instances: Instance, surge: int = 1, phase: R = R.PREFLIGHT, opened: tuple[str, ...] = ()) -> World:
    """Generation 2 has lost a task of generation 1, and the pool holds such rollouts."""
    pool = spec(surge=surge, unavailable=1 - surge)
    pool = replace(pool, policy=replace(pool.policy, on_missing_tasks=OnMissingTasks.HOLD))
    state = wanting(2, 1, phase=phase)
    assert state.rollout is not None
    rollout = replace(state.rollout, tasks=TaskChanges(("proj.gone",)), opened=opened)
    return world(pool, replace(state, rollout=rollout), *instances)


@pytest.mark.parametrize("surge", [0, 1])
@pytest.mark.parametrize("phase", [R.PREFLIGHT, R.WAITING, R.TENTATIVE])
def test_a_rollout_that_loses_tasks_is_held_before_its_canary_with_the_old_workers_at_full_strength(
    surge: int, phase: R
) -> None:
    held = holding(one("1-1"), one("1-2"), surge=surge, phase=phase)
    assert short(held) == []
    waiting = plan(held, NOW).waiting
    assert "generation 2 does not have task proj.gone" in waiting
    assert "trapctl rollout promote p lets the rollout go on, which it does by itself when no message" in waiting
    assert short(holding(one("1-1"), one("1-2"), one("2-1", "starting"), surge=surge, phase=phase)) == ["drain 2-1"]
    assert short(holding(one("1-1"), surge=surge, phase=phase)) == ["start 1-2"]


def test_a_held_rollout_goes_on_once_it_is_opened() -> None:
    assert short(holding(one("1-1"), one("1-2"), phase=R.WAITING, opened=("tasks",))) == ["start 2-1"]
    healthy = holding(one("1-1"), one("1-2"), one("2-1", ago=9), phase=R.CANARY, opened=("tasks",))
    assert short(healthy) == ["promote 2"]
