"""What a pin holds and for how long, and when a run may begin. Now is second 1000."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.builders import NOW, failure, one, rollout, spec, wanting, world
from trapd.content import CELERYCONFIG, Content
from trapd.model import FailureKind, Generation, Instance, Pin, PoolState, RolloutState
from trapd.rollout import pin, want
from trapd.rollout.actions import Doubt, Fail, Reject
from trapd.rollout.gates import Closed, Gate
from trapd.rollout.pin_begin import later
from trapd.rollout.verdict import verdict
from trapd.rollout.view import PoolView
from trapd.spec import OnFailure

R = RolloutState


def generation(number: int, code: str, config: str = "c", application: str = "app ") -> Generation:
    table = {"pkg": Content(code, code), CELERYCONFIG: Content("", config)}
    return Generation(
        number, f"{code} {config}", {"pkg": code}, {}, "", "watch", 0.0,
        application=application, distributions=table, required=("pkg", CELERYCONFIG),
    )  # fmt: skip


KNOWN = {1: generation(1, "old"), 2: generation(2, "new"), 3: generation(3, "new", "another password")}
KNOWN[4] = generation(4, "new", application="another ")


def held(until: float = NOW + 100, **more: object) -> Pin:
    return Pin("a", "alice", "trap-run", 2, 0.0, NOW - 50, until, 0.0, **more)  # type: ignore[arg-type]


def pinned(state: PoolState, *pins: Pin) -> PoolState:
    return replace(state, pins=pins or (held(),))


def test_a_pin_holds_code_whatever_its_number_and_its_celeryconfig() -> None:
    assert pin.allowed(wanting(2, 2), KNOWN) == {2, 3}
    assert pin.allowed(wanting(3, 3), KNOWN) == {2, 3}
    assert pin.allowed(wanting(9), KNOWN) == frozenset()


@pytest.mark.parametrize(
    ("pin_of", "ends"),
    [
        (held(), ""),
        (held(until=NOW), "longest_pin"),
        (held(away_since=NOW - 59), ""),
        (held(away_since=NOW - 60), "nobody took the pin up within 60 s"),
    ],
)
def test_a_pin_ends_by_itself(pin_of: Pin, ends: str) -> None:
    over = pin.over(pinned(wanting(2, 2), pin_of), NOW)
    assert ends in over["a"] if ends else not over


def test_the_next_end_is_when_nobody_has_come_back_or_the_time_is_over() -> None:
    assert pin.next_end([wanting(2, 2)]) is None
    assert pin.next_end([pinned(wanting(2, 2))]) == NOW + 100
    assert pin.next_end([pinned(wanting(2, 2), held(away_since=NOW - 10))]) == NOW + 50


def test_runs_that_overlap_cannot_keep_code_waiting_for_ever() -> None:
    state = pinned(wanting(2, 2))
    assert pin.longest(state, 6000.0, NOW, waits=False) == NOW + 6000
    assert pin.longest(state, 6000.0, NOW, waits=True) == NOW + 100


def test_a_start_of_trapd_leaves_each_pin_to_its_holder_to_take_up() -> None:
    state = want.after_boot(pinned(wanting(2, 2)), NOW, 0.0)
    assert [p.away_since for p in state.pins] == [NOW]
    assert [p.away_since for p in pin.taken_up(state, "a").pins] == [None]


def view(state: PoolState, *instances: Instance, gate: Closed | None = None) -> PoolView:
    return PoolView(spec(), state, instances, gate=gate)


REST = wanting(2, 1, 2, phase=R.COMPLETE)
ROLLING = replace(wanting(2, 1, 2), rollout=replace(rollout(2, R.ROLLING), previous=1))
RECYCLE = replace(wanting(3, 2, 3), rollout=replace(rollout(3, R.ROLLING), previous=2))
FAILED = replace(wanting(2, 1), rollout=replace(rollout(2, R.FAILED), previous=1))
GATE = Closed(Gate.PROMOTION, "p@2-1 was ready for 5 s and runs what it should")


@pytest.mark.parametrize(
    ("seen", "why", "person"),
    [
        (view(wanting(None)), "no code has settled yet", False),
        (view(REST, one("2-1"), one("2-2")), None, False),
        (view(REST, one("2-1"), one("1-2", "draining")), None, False),  # takes no task any more
        (view(REST, one("2-1"), one("1-2")), "workers of other code have to leave first: p@1-2", False),
        (view(replace(REST, paused=True), one("2-1")), None, False),
        (view(wanting(2)), "when rollout 1 to generation 2 has ended", False),
        (view(ROLLING, one("2-1"), one("1-2")), "the run begins when rollout 1 to generation 2 has ended", False),
        (view(replace(ROLLING, paused=True)), "paused: a person has to resume it; trapctl rollout resume p", True),
        (view(ROLLING, gate=GATE), "a person: p@2-1 was ready for 5 s and runs what it should; trapctl rollout", True),
        (view(RECYCLE, one("3-1"), one("2-2")), None, False),  # the same code
        (view(FAILED, one("2-1", "failed"), one("1-2")), "generation 2 failed and is held: a person has to", True),
    ],
)
def test_a_run_begins_when_one_code_serves(seen: PoolView, why: str | None, person: bool) -> None:
    wait = later(seen, KNOWN)
    assert (wait is None) is (why is None)
    if wait is not None and why is not None:
        assert why in wait.why
        assert wait.person is person


def test_no_run_begins_while_trapd_stops() -> None:
    wait = later(view(REST, one("2-1")), KNOWN, stopping=True)
    assert wait is not None
    assert wait.person


def test_code_that_is_held_is_not_doubted_for_the_sake_of_other_code() -> None:
    hangs = one("2-1", "failed", failures=3, failure=failure(1, FailureKind.WATCHDOG, was_ready=True))
    assert isinstance(verdict(world(spec(), REST, hangs, one("2-2")), NOW), Doubt)
    assert verdict(world(spec(), pinned(REST), hangs, one("2-2"), pinned=frozenset({2, 3})), NOW) is None


@pytest.mark.parametrize("wrong", [Reject(3, "it raised"), Fail(3, "it is stuck")])
def test_what_fails_while_code_is_held_gives_way_to_the_same_code(wrong: Reject | Fail) -> None:
    recycled = replace(RECYCLE, good=(2, 1))  # code 1 proved itself later than code 2: it was undone
    assert want.decide(recycled, wrong, KNOWN, OnFailure.REVERT, 5.0).wanted == 1
    assert want.decide(pinned(recycled), wrong, KNOWN, OnFailure.REVERT, 5.0).wanted == 2
