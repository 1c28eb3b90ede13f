"""Written scenarios: one story each, on fakes and virtual time."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.universe import POOL, Universe, now_or_never
from tests.support.builders import application, spec
from tests.support.fake_backend import NEVER, Behaviour
from tests.support.fake_history import FakeHistory
from trapd.contracts import STOP_TIME
from trapd.errors import BackendError, HistoryError, RefusedError, SnapshotError
from trapd.event import EventKind
from trapd.model import Disk, DiskState, FailureKind, InstanceId, InstanceState, RolloutState
from trapd.rollout import want
from trapd.rollout.actions import Renew
from trapd.spec import PoolSpec, Promotion

GOOD = Behaviour(start=20, drain=10)
RAISES = Behaviour(start=20, failure=FailureKind.CODE)
HANGS = Behaviour(start=600, failure=FailureKind.TIMEOUT)
DIES_YOUNG = Behaviour(start=20, crash_after=2)


def running(pool: PoolSpec | None = None, seed: int = 0) -> Universe:
    """A universe in which version one runs."""
    universe = Universe(pool or spec(), seed)
    universe.install("one", GOOD)
    universe.settle("one")
    return universe


def upgraded() -> Universe:
    """A universe in which version two runs, after version one."""
    universe = running()
    universe.install("two", GOOD)
    universe.settle("two")
    return universe


def starts(universe: Universe) -> Counter[int]:
    return Counter(id.generation for id in universe.backend.started)


def outcome(universe: Universe) -> RolloutState:
    rollout = universe.history.rollouts(POOL)[0]
    return rollout.state


def test_one_upgrade_is_one_recycle() -> None:
    universe = upgraded()
    assert starts(universe) == {1: 2, 2: 2}
    assert outcome(universe) is RolloutState.COMPLETE


def test_what_a_rollout_does_to_the_workers_before_is_part_of_its_story() -> None:
    universe = upgraded()
    told = [(event.kind, event.instance) for event in universe.history.events(rollout=2)]
    assert {(what, name) for what in ("draining", "gone") for name in ("p@1-1", "p@1-2")} <= set(told)
    assert {("started", "p@2-1"), ("started", "p@2-2")} <= set(told)
    assert told[-1] == ("finished", None)
    universe.run(60)
    universe.order("scale", POOL, 1)
    universe.run(60)
    scaled, draining, gone = universe.history.events()[-3:]
    assert [event.kind for event in (scaled, draining, gone)] == ["scaled", "draining", "gone"]
    assert draining.rollout == gone.rollout == 2, "of that generation"
    assert gone.reason == "left 10.0 s after it was asked to"


def test_a_worker_that_a_person_stopped_leaves_a_receipt_too() -> None:
    universe = running()
    now_or_never(universe.backend.drain(InstanceId(POOL, 1, 1)))
    universe.run(60)
    told = [(event.kind, event.reason) for event in universe.history.events() if event.instance == "p@1-1"]
    assert told == [
        ("started", "2 workers are wanted on generation 1"),
        ("ready", "sent READY"),
        ("draining", "was asked to leave by systemd or a person"),
        ("gone", "left 10.0 s after it was asked to"),
    ]


def test_what_people_order_meanwhile_is_part_of_the_story_of_a_rollout() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(1)
    for order in ("pause", POOL), ("resume", POOL), ("scale", POOL, 3):
        universe.order(*order)
    told = [(event.kind, event.actor) for event in universe.history.events(rollout=2)]
    assert [what for what, actor in told if actor == "somebody"] == ["paused", "resumed", "scaled"]
    universe.settle("two")


def test_the_same_code_again_is_no_recycle() -> None:
    universe = running()
    universe.install("one", GOOD)
    universe.settle("one")
    assert starts(universe) == {1: 2}


def test_code_that_raises_is_rejected_and_costs_nobody() -> None:
    universe = running()
    universe.install("two", RAISES)
    universe.settle("one")
    assert starts(universe) == {1: 3, 2: 2}, "one canary, one question to the good generation, and one to be sure"
    rollout = universe.history.rollouts(POOL)[0]
    assert rollout.state is RolloutState.REJECTED
    assert "ImportError" in rollout.reason
    assert rollout.detail == "the last words"
    assert {InstanceId(POOL, 1, 1), InstanceId(POOL, 1, 2)} & set(universe.backend._runs)


def test_code_that_hangs_is_rejected() -> None:
    universe = running()
    universe.install("two", HANGS)
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED


def test_code_that_dies_young_is_rejected() -> None:
    universe = running()
    universe.install("two", DIES_YOUNG)
    universe.settle("one")
    assert starts(universe)[2] == 4, "a crash may be a passing trouble: three tries, and one to be sure"
    assert outcome(universe) is RolloutState.REJECTED


MANUAL = replace(spec(), policy=replace(spec().policy, promote=Promotion.MANUAL))


def test_a_rollout_waits_for_a_person_and_goes_on_when_it_is_promoted() -> None:
    universe = running(MANUAL)
    universe.install("two", GOOD)
    universe.run(3 * 3600)
    assert starts(universe) == {1: 2, 2: 1}, "the canary stays beside the old workers, however long"
    view = now_or_never(universe.controller.observe(POOL))
    assert outcome(universe) is RolloutState.WAITING
    assert view.waiting == (
        "a person: p@2-1 was ready for 5 s and runs what it should; trapctl rollout promote p lets the rollout go on"
    )
    universe.order("promote", POOL)
    universe.settle("two")
    assert outcome(universe) is RolloutState.COMPLETE
    opened = [event.actor for event in universe.history.events() if event.kind is EventKind.OPENED]
    assert opened == ["somebody"]


def test_a_canary_that_waits_for_a_person_is_kept_alive_and_judged_as_any_other() -> None:
    universe = running(MANUAL)
    universe.install("two", GOOD)
    universe.run(3600)
    universe.backend.crash(InstanceId(POOL, 2, 1))
    universe.run(3600)
    assert outcome(universe) is RolloutState.WAITING, "one crash is no verdict, though its rollout is old"
    assert starts(universe) == {1: 2, 2: 2}
    universe.boot_again()
    universe.behaviours["two"] = RAISES
    universe.backend.exceptions[InstanceId(POOL, 2, 1)] = RAISES
    universe.backend.crash(InstanceId(POOL, 2, 1))
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED


def test_nothing_is_promoted_that_does_not_wait() -> None:
    universe = running(MANUAL)
    assert outcome(universe) is RolloutState.COMPLETE, "the first code follows no good code"
    universe.order("promote", POOL)
    assert universe.story[-1].endswith(
        "refused: cannot promote p: no rollout there waits for a person; see trapctl status"
    )
    universe.install("two", GOOD)
    universe.run(1)
    universe.order("promote", POOL)
    assert universe.story[-1].endswith("see trapctl status"), "nor before its canary has proved anything"


def test_a_rollout_that_waits_goes_on_waiting_after_a_restart_of_trapd() -> None:
    universe = running(MANUAL)
    universe.install("two", GOOD)
    universe.run(600)
    universe.die()
    universe.run(1200)
    assert outcome(universe) is RolloutState.WAITING
    universe.order("promote", POOL)
    universe.settle("two")


PATIENT = replace(spec(), policy=replace(spec().policy, min_ready=120.0))
DIES_LATE = Behaviour(start=20, crash_after=40)  # its backend has forgiven it by then


def test_code_that_dies_again_and_again_before_a_long_min_ready_is_rejected() -> None:
    universe = running(PATIENT)
    universe.install("two", DIES_LATE)
    universe.run(1000)
    assert outcome(universe) is RolloutState.REJECTED
    universe.settle("one")


def test_a_canary_that_dies_late_but_once_is_tried_again() -> None:
    universe = running(PATIENT)
    universe.install("two", DIES_LATE)
    universe.run(30)
    universe.behaviours["two"] = GOOD
    universe.settle("two")


def test_a_rollout_in_which_others_die_again_and_again_before_a_long_min_ready_fails() -> None:
    universe = running(PATIENT)
    universe.install("two", GOOD)
    universe.run(135)
    universe.behaviours["two"] = DIES_LATE
    universe.run(1000)
    assert outcome(universe) is RolloutState.FAILED
    universe.settle("one")


BLOCKS_AT_ONCE = Behaviour(start=20, turns_for=2)  # its main loop; ready it is until its watchdog ends it
BLOCKS_LATER = Behaviour(start=20, turns_for=40)


def test_code_that_blocks_its_loop_right_after_ready_is_never_promoted() -> None:
    universe = running()
    universe.install("two", BLOCKS_AT_ONCE)
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED
    assert starts(universe)[2] == 4, "three tries, and one to be sure"
    assert "promoted" not in [event.kind for event in universe.history.events(generation=2)]
    assert {InstanceId(POOL, 1, 1), InstanceId(POOL, 1, 2)} & set(universe.backend._runs), "and costs nobody"


def test_code_that_blocks_its_loop_after_it_was_complete_is_reverted() -> None:
    universe = running()
    universe.install("two", BLOCKS_LATER)
    universe.run(75)
    assert outcome(universe) is RolloutState.COMPLETE
    universe.settle("one", 1800)
    rollout = universe.history.rollouts(POOL)[0]
    assert (rollout.state, rollout.generation) == (RolloutState.REJECTED, 2)
    told = [event.kind for event in universe.history.events(generation=2)]
    assert told.index(EventKind.DOUBTED) < told.index(EventKind.REJECTED)
    universe.install("two", BLOCKS_LATER)
    universe.settle("one")


def test_code_that_hung_for_a_while_after_it_was_complete_proves_itself_anew() -> None:
    universe = running()
    universe.install("two", BLOCKS_LATER)
    while "doubted" not in [event.kind for event in universe.history.events(generation=2)]:
        universe.run(1)
    universe.behaviours["two"] = GOOD
    universe.settle("two")
    assert outcome(universe) is RolloutState.COMPLETE


def test_code_that_hangs_for_the_first_time_after_a_day_is_not_reverted() -> None:
    universe = running()
    universe.install("two", replace(GOOD, turns_for=24 * 3600.0))
    universe.run(4 * 24 * 3600.0)
    wanted = universe.wanted()
    assert wanted is not None
    assert wanted.fingerprint == "two"
    assert outcome(universe) is RolloutState.COMPLETE


def test_workers_that_hang_because_of_the_machine_are_not_blamed_on_the_code() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(75)
    assert outcome(universe) is RolloutState.COMPLETE
    for version in ("one", "two"):
        universe.behaviours[version] = replace(GOOD, turns_for=5.0)
    for id in list(universe.backend._runs):
        universe.backend.crash(id, FailureKind.WATCHDOG)
    universe.run(3600)
    assert not universe.controller.state(POOL).refused
    for version in ("one", "two"):
        universe.behaviours[version] = GOOD
    universe.settle("two")


MIXED = replace(GOOD, strays=("trap.x=/elsewhere/x.py",))


def test_a_first_generation_that_cannot_be_trusted_ends_by_the_deadline_with_the_reason_and_serves() -> None:
    universe = Universe(spec())
    universe.install("one", MIXED)
    universe.run(700)
    rollout = universe.history.rollouts(POOL)[0]
    assert rollout.state is RolloutState.FAILED
    assert "from outside its snapshot" in rollout.reason
    universe.check_rest()
    universe.behaviours["one"] = GOOD
    universe.order("recycle", [POOL], reason="")
    universe.settle("one")
    assert outcome(universe) is RolloutState.COMPLETE


def test_where_nothing_was_ever_good_a_broken_upgrade_and_a_restart_cost_nobody() -> None:
    universe = Universe(spec(), orphans_drain=True)
    universe.install("one", MIXED)
    universe.run(700)
    universe.install("two", RAISES)
    universe.run(10)
    universe.die()
    universe.run(120)
    serving = [i for i in universe.backend.seen() if i.state is InstanceState.READY]
    assert [i.id.generation for i in serving] == [1, 1]
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED


def test_where_nothing_was_ever_good_old_workers_stay_until_the_new_code_is_proven() -> None:
    universe = Universe(spec())
    universe.install("one", MIXED)
    universe.run(700)
    universe.install("two", replace(MIXED, start=20))
    universe.settle("one")
    assert starts(universe) == {1: 2, 2: 1}
    assert outcome(universe) is RolloutState.REJECTED
    universe.install("three", GOOD)
    universe.settle("three")


CUT_OFF = replace(GOOD, status="broker unreachable for 9 s, 0 active")


def test_a_canary_that_alone_has_no_broker_ends_by_the_deadline_with_the_reason() -> None:
    universe = running()
    universe.install("two", CUT_OFF)
    universe.settle("one")
    rollout = universe.history.rollouts(POOL)[0]
    assert rollout.state is RolloutState.REJECTED
    assert "broker unreachable for 9 s" in rollout.reason


def test_a_canary_whose_broker_is_away_from_everybody_is_neither_promoted_nor_rejected() -> None:
    universe = running()
    away(universe, "one", CUT_OFF)
    universe.install("two", CUT_OFF)
    universe.run(3 * 3600)
    rollout = universe.controller.state(POOL).rollout
    assert rollout is not None
    assert rollout.state is RolloutState.CANARY
    away(universe, "one", GOOD)
    away(universe, "two", GOOD)
    universe.settle("two")


def away(universe: Universe, version: str, behaviour: Behaviour) -> None:
    """The workers of that version behave so from now on."""
    universe.behaviours[version] = behaviour
    generations = universe.history.generations()
    for id, run in universe.backend._runs.items():
        if generations[id.generation].fingerprint == version:
            run.behaviour, run.instance = behaviour, replace(run.instance, status=behaviour.status)


@pytest.mark.parametrize("workers", [False, True])
def test_time_in_which_trapd_stood_still_is_no_lack_of_progress(workers: bool) -> None:
    universe = running()
    universe.install("two", replace(GOOD, start=90))
    universe.run(100)  # the canary is ready
    universe.stand_still(7200, workers=workers)
    universe.settle("two")
    assert outcome(universe) is RolloutState.COMPLETE
    assert not universe.controller.state(POOL).refused


def test_a_drain_timeout_does_not_run_while_trapd_and_its_workers_stand_still() -> None:
    universe = running(spec(drain_timeout=30.0))
    universe.behaviours["one"] = GOOD
    for run in universe.backend._runs.values():
        run.behaviour = replace(GOOD, drain=25.0)
    universe.install("two", GOOD)
    universe.run(30)
    universe.stand_still(100, workers=True)
    universe.settle("two")
    assert "killed" not in [event.kind for event in universe.history.events()]


@pytest.mark.parametrize(("heeds", "kinds"), [(2.0, ["interrupted", "gone"]), (1e6, ["interrupted", "killed"])])
def test_a_drain_past_its_timeout_is_interrupted_once_before_it_is_killed(heeds: float, kinds: list[str]) -> None:
    universe = running(spec(drain_timeout=30.0))
    for run in universe.backend._runs.values():
        run.behaviour = replace(GOOD, drain=NEVER, heeds=heeds)
    universe.install("two", GOOD)
    universe.settle("two", 600)
    assert sorted(map(str, universe.backend.interrupted)) == ["p@1-1", "p@1-2"]
    for name in map(str, universe.backend.interrupted):
        told = [str(event.kind) for event in universe.history.events(instance=name)]
        assert told[told.index("interrupted") :][:2] == kinds


def test_workers_that_hang_in_their_drain_hold_up_nothing_and_are_told_of() -> None:
    universe = running()
    for run in universe.backend._runs.values():
        run.behaviour = replace(GOOD, drain=NEVER, prolongs=False)
    universe.install("two", GOOD)
    universe.settle("two", 600)
    told = [event.reason for event in universe.history.events(generation=1) if event.kind == "gone"]
    assert len(told) == 2
    assert all(f"did not leave: no sign of life for {STOP_TIME:g} s" in why for why in told)


def test_after_a_rejection_the_next_good_upgrade_rolls_by_itself() -> None:
    universe = running()
    universe.install("two", RAISES)
    universe.run(300)
    universe.install("three", GOOD)
    universe.settle("three")


def test_what_was_rejected_is_not_tried_again_by_itself_but_by_retry() -> None:
    universe = running()
    universe.install("two", RAISES)
    universe.run(300)
    before = starts(universe)
    universe.install("two", RAISES)
    universe.run(300)
    assert starts(universe) == before
    universe.behaviours["two"] = GOOD  # somebody installed the library that it lacked
    universe.order("retry", [POOL])
    universe.settle("two")


def test_what_was_rejected_and_taken_back_leaves_a_pool_as_installed() -> None:
    universe = running()
    assert universe.controller.as_installed(POOL)
    universe.install("two", RAISES)
    universe.settle("one")
    assert not universe.controller.as_installed(POOL)
    universe.install("one", GOOD)
    assert universe.controller.as_installed(POOL)
    universe.reload(concurrency=7)
    assert universe.controller.as_installed(POOL)
    universe.order("undo", POOL)
    universe.settle("one")
    assert not universe.controller.as_installed(POOL), "it runs under settings that are not those in force"


def test_a_worker_whose_end_is_not_told_at_once_is_replaced_once_and_blamed() -> None:
    universe = running()
    universe.install("two", replace(RAISES, dying=0.01))
    universe.settle("one")
    assert starts(universe) == {1: 3, 2: 2}
    universe = Universe(spec())
    universe.install("one", replace(RAISES, start=0.1, dying=0.01))
    universe.run(60)
    assert len(universe.backend.started) <= 2 * 7, "with a pause that doubles"


def test_an_outage_is_not_blamed_on_the_code() -> None:
    universe = running()
    universe.outage = True
    universe.install("two", GOOD)
    universe.run(1200)
    rollout = universe.controller.state(POOL).rollout
    assert rollout is not None
    assert not rollout.state.over
    assert "does not start either" in universe.controller.pool(POOL).waiting
    universe.outage = False
    universe.settle("two")


def test_an_outage_that_ends_before_the_good_one_is_asked_is_not_blamed_on_the_code() -> None:
    """The good one started, after the trouble was over, and that once convicted the code that had met it."""
    universe = running()
    universe.install("two", RAISES)
    while starts(universe)[1] == 2:  # until the good one is asked
        universe.run(0.1)
    universe.behaviours["two"] = GOOD
    universe.settle("two")
    assert outcome(universe) is RolloutState.COMPLETE


def test_a_change_in_mid_rollout_supersedes() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(22)
    universe.install("three", GOOD)
    universe.settle("three")
    assert starts(universe) == {1: 2, 2: 1, 3: 2}
    assert [r.state for r in universe.history.rollouts(POOL)][:2] == [RolloutState.COMPLETE, RolloutState.SUPERSEDED]


def test_a_change_back_in_mid_canary_costs_nothing() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(22)
    universe.install("one", GOOD)
    universe.settle("one")
    assert starts(universe) == {1: 2, 2: 1}


def test_a_rollout_that_stops_making_progress_is_reverted() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(24)  # the canary is good
    universe.behaviours["two"] = RAISES  # and nothing after it is
    universe.settle("one")
    assert outcome(universe) is RolloutState.FAILED
    assert "progress_deadline" in universe.history.rollouts(POOL)[0].reason


def test_a_rollout_that_fails_may_be_held_instead() -> None:
    universe = running(spec(hold=True))
    universe.install("two", GOOD)
    universe.run(24)
    universe.behaviours["two"] = RAISES
    universe.run(4000)
    assert outcome(universe) is RolloutState.FAILED
    assert universe.controller.state(POOL).wanted == 2
    universe.behaviours["two"] = GOOD
    universe.order("retry", [POOL])
    universe.settle("two")


def test_a_rejected_canary_is_never_held() -> None:
    universe = running(spec(hold=True))
    universe.install("two", RAISES)
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED


def test_undo_goes_back_and_stays_back() -> None:
    universe = upgraded()
    universe.order("undo", POOL)
    universe.settle("one")
    assert universe.history.generations()[3].reason == "undo of generation 2: pkg two -> one"
    universe.install("two", GOOD)  # the watch looks again
    universe.settle("one")


def test_undo_to_what_cannot_start_any_more_is_refused_with_the_remedy() -> None:
    """An old release's virtual environment was removed, say: no worker of it would start."""
    universe = upgraded()
    universe.snapshots.flaws[1] = "its interpreter /opt/one/bin/python is gone; make it again"
    refused = universe.triggers.undo(POOL, actor="somebody")
    with pytest.raises(RefusedError) as told:
        now_or_never(refused)
    assert str(told.value) == f"cannot undo {POOL}: generation 1 cannot start: {universe.snapshots.flaws[1]}"
    universe.settle("two")


def test_undo_in_mid_rollout_keeps_the_old_workers() -> None:
    universe = running(spec(4))
    universe.install("two", GOOD)
    universe.run(30)
    universe.order("undo", POOL)
    universe.settle("one")
    assert starts(universe)[1] < 8, "those that still ran were kept"
    undo = universe.history.rollouts(limit=1)[0]
    assert undo.generation == 1, "no new generation was needed"
    made = universe.history.generations()[1].wall
    assert undo.started_wall > made + 60, "it began now, not when that generation was made"


def test_what_was_undone_is_no_last_good() -> None:
    universe = upgraded()
    universe.order("recycle", [POOL], reason="why not")
    universe.run(5)
    universe.order("undo", POOL)
    universe.settle("one")
    assert universe.controller.state(POOL).last_good == 1
    universe.install("three", RAISES)
    universe.settle("one")


def test_undo_after_a_settings_change_goes_back_to_other_code() -> None:
    universe = upgraded()
    universe.reload(concurrency=9)
    universe.settle("two")
    universe.order("undo", POOL)
    universe.settle("one")


def undone() -> Universe:
    """A universe in which version two ran, was undone, and is still installed."""
    universe = upgraded()
    universe.order("undo", POOL)
    universe.settle("one")
    return universe


def test_what_was_undone_stays_back_when_settings_change() -> None:
    universe = undone()
    universe.reload(concurrency=9)
    universe.settle("one")
    assert starts(universe) == {1: 2, 2: 2, 3: 2, 4: 2}, "and the settings are rolled, once"
    universe.order("recycle", [POOL], reason="memory")
    universe.settle("one")
    universe.reload(concurrency=10)
    universe.die()
    universe.settle("one")
    assert 2 not in {id.generation for id in universe.backend.started[4:]}


def test_what_was_undone_stays_back_when_settings_changed_while_trapd_was_down() -> None:
    universe = undone()
    universe.spec = replace(universe.spec, concurrency=9)
    universe.die()
    universe.settle("one")
    assert starts(universe)[4] == 2, "the settings are rolled"


def test_what_was_undone_is_no_last_good_under_other_settings_either() -> None:
    universe = upgraded()
    universe.reload(concurrency=9)
    universe.settle("two")
    universe.order("undo", POOL)
    assert universe.controller.state(POOL).good == (1,)


def test_what_was_undone_comes_back_by_retry_and_when_something_else_is_installed_that_comes() -> None:
    universe = undone()
    universe.order("retry", [POOL])
    universe.settle("two")
    universe = undone()
    universe.install("three", GOOD)
    universe.settle("three")
    universe.order("undo", POOL)
    universe.settle("one")
    universe.install("two", GOOD)
    universe.settle("one")


def test_a_second_undo_takes_back_the_first() -> None:
    universe = undone()
    for version in ("two", "one", "two"):
        universe.order("undo", POOL)
        universe.settle(version)
        universe.reload(concurrency=(universe.spec.concurrency or 1) + 1)
        universe.settle(version)
    assert outcome(universe) is RolloutState.COMPLETE


def test_a_second_undo_takes_back_the_first_after_many_recycles() -> None:
    universe = undone()
    for _ in range(8):  # more generations than are kept for their age
        universe.order("recycle", [POOL], reason="memory")
        universe.settle("one")
    universe.order("undo", POOL)
    universe.settle("two")


def test_a_second_undo_to_code_that_proves_bad_ends_where_it_was() -> None:
    universe = undone()
    universe.behaviours["two"] = RAISES
    universe.order("undo", POOL)
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED
    with pytest.raises(RefusedError, match="no other good generation"):
        now_or_never(universe.triggers.undo(POOL, actor="somebody"))


def test_undo_and_undo_again_in_mid_canary() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(22)
    universe.order("undo", POOL)
    universe.order("undo", POOL)
    universe.settle("two")
    assert starts(universe) == {1: 2, 2: 2}, "it went on where it was"
    assert outcome(universe) is RolloutState.COMPLETE


def test_a_settings_change_while_the_installed_code_is_rejected_is_rolled_on_the_last_good() -> None:
    universe = running()
    universe.install("two", RAISES)
    universe.settle("one")
    universe.reload(environment={"OMP_NUM_THREADS": "1"})
    universe.settle("one")
    assert starts(universe)[2] == 2, "what was rejected is not tried again"
    assert universe.controller.state(POOL).wanted == 3
    assert outcome(universe) is RolloutState.COMPLETE


def test_settings_that_come_with_code_that_is_then_rejected_are_rolled_on_the_last_good() -> None:
    universe = running()
    universe.install("two", RAISES)
    universe.run(10)
    universe.reload(concurrency=9)
    universe.settle("one")
    universe.check_settings()
    assert starts(universe)[4] == 2
    assert outcome(universe) is RolloutState.COMPLETE


def test_settings_that_come_with_code_that_is_then_undone_are_rolled_on_the_last_good() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(22)
    universe.reload(concurrency=9)
    universe.run(22)
    universe.order("undo", POOL)
    universe.settle("one")
    universe.check_settings()


def test_settings_that_came_between_two_undos_are_rolled_on_what_the_second_brings_back() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(22)
    universe.order("undo", POOL)
    universe.settle("one")
    universe.reload(concurrency=9)
    universe.run(22)
    universe.order("undo", POOL)
    universe.settle("two")
    universe.check_settings()


def test_a_first_rollout_that_fails_leaves_what_was_good_to_fall_back_on() -> None:
    universe = Universe(spec())
    universe.install("one", GOOD)
    universe.run(22)
    universe.backend.crash(InstanceId(POOL, 1, 2))
    universe.behaviours["one"] = RAISES
    universe.run(2000)
    assert outcome(universe) is RolloutState.FAILED
    universe.behaviours["one"] = GOOD
    universe.settle("one")
    universe.install("two", RAISES)
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED


def test_a_first_rollout_that_failed_may_be_tried_again() -> None:
    universe = Universe(spec())
    universe.install("one", GOOD)
    universe.run(22)
    universe.backend.crash(InstanceId(POOL, 1, 2))
    universe.behaviours["one"] = RAISES
    universe.run(2000)
    universe.behaviours["one"] = GOOD
    universe.order("retry", [POOL])
    universe.settle("one")


def test_code_that_was_rejected_is_tried_as_another_application() -> None:
    universe = running()
    universe.install("two", RAISES)
    universe.settle("one")
    universe.behaviours["two"] = GOOD  # which has moved, say, to where trapd.toml names it now
    universe.reload(app="trap.other:app")
    universe.settle("two")
    assert starts(universe) == {1: 3, 2: 2, 3: 2}
    assert universe.history.generations()[3].application == application("trap.other:app").identity


def reload_that_is_rejected(universe: Universe, **changes: Any) -> None:
    """The code "one" is good as it was started before, and fails as it is started after this reload."""
    universe.behaviours["one"] = RAISES
    universe.reload(**changes)
    universe.run(10)
    universe.behaviours["one"] = GOOD  # as it was started before, which is asked next
    began = len(universe.backend.started)
    while len(universe.backend.started) == began:
        universe.run(1)
    universe.behaviours["one"] = RAISES
    while outcome(universe) is not RolloutState.REJECTED:
        universe.run(1)
    universe.behaviours["one"] = GOOD
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED


def test_another_application_that_fails_is_refused_and_settings_go_on() -> None:
    universe = running()
    reload_that_is_rejected(universe, app="trap.typo:app")
    began = len(universe.backend.started)
    universe.reload(concurrency=9, app="trap.typo:app")
    universe.settle("one")
    started = {universe.history.generations()[i.generation].application for i in universe.backend.started[began:]}
    assert started == {application().identity}


def test_another_application_does_not_bring_back_what_was_undone_and_settings_do_not_wait_for_it() -> None:
    universe = upgraded()
    universe.order("undo", POOL)
    universe.settle("one")
    before = starts(universe)
    universe.reload(app="trap.other:app")
    universe.settle("one")
    assert starts(universe) == before, "a copy could not start it"
    universe.reload(concurrency=9, app="trap.other:app")
    universe.settle("one")
    generation = universe.wanted()
    assert generation is not None
    assert generation.application == application().identity
    universe.install("three", GOOD)
    universe.settle("three")
    generation = universe.wanted()
    assert generation is not None
    assert generation.application == application("trap.other:app").identity


def test_settings_that_fail_are_not_held_against_code_that_is_good() -> None:
    universe = running()
    reload_that_is_rejected(universe, environment={"TYPO": "1"})
    assert universe.controller.state(POOL).wanted == 1
    universe.install("two", GOOD)
    universe.settle("two")
    universe.reload(environment={})
    universe.settle("two")
    universe.install("one", GOOD)
    universe.settle("one")


def test_an_undo_that_fails_changes_nothing() -> None:
    universe = upgraded()
    before = universe.history.pools()
    universe.snapshots.failure = SnapshotError("no space left")
    with pytest.raises(SnapshotError):
        universe.order("undo", POOL)
    assert universe.history.pools() == before


def test_settings_that_failed_and_are_taken_back_recycle_nobody() -> None:
    universe = running()
    reload_that_is_rejected(universe, environment={"TYPO": "1"})
    before = starts(universe)
    universe.reload(environment={})
    universe.settle("one")
    assert starts(universe) == before
    assert universe.controller.as_installed(POOL)


def test_settings_that_cannot_be_copied_hold_up_nothing_else() -> None:
    universe = running()
    universe.install("two", RAISES)
    universe.run(10)
    universe.reload(concurrency=9)
    universe.snapshots.failure = SnapshotError("no space left")
    universe.run(3000)
    universe.backend.crash(InstanceId(POOL, 1, 1))
    universe.run(60)
    assert [i.state for i in universe.backend.seen()] == ["ready", "ready"]
    assert [str(action) for action in now_or_never(universe.controller.observe(POOL)).actions] == [
        "renew generation 1: settings of the pool changed"
    ]
    universe.snapshots.failure = None
    universe.settle("one")
    universe.check_settings()


def test_settings_that_another_trigger_has_brought_meanwhile_are_not_rolled_out_twice() -> None:
    """Between a plan and its Renew a recycle may come, which copies the code with the settings in force."""
    universe = running()
    planned = Renew(1, "settings of the pool changed")
    universe.order("recycle", [POOL], reason="memory")
    began = universe.history.rollouts()
    assert universe.controller.renew is not None
    now_or_never(universe.controller.renew(POOL, planned))  # type: ignore[arg-type]
    assert universe.history.rollouts() == began


def test_what_the_disk_means_is_known_with_its_reason_at_any_time() -> None:
    universe = running()

    def means() -> str:
        return str(universe.controller.pool(POOL).installed)

    same = "nothing changes, because generation {} is what is installed, under the settings in force"
    assert means() == same.format(1)
    universe.install("two", RAISES)
    assert means() == same.format(2)
    universe.settle("one")
    refused = "nothing changes, because what is installed was refused before for this application: "
    assert means() == f"{refused}{universe.history.rollouts(limit=1)[0].reason}"
    universe.order("recycle", [POOL], reason="memory")
    assert means().startswith(refused), "another trigger does not change that"
    universe.disk = Disk(DiskState.CHANGING, "pip is at work")
    universe._look()
    assert means() == "nothing changes, because what is installed is changing: pip is at work"


def test_a_reload_that_means_nothing_is_kept_with_who_and_why() -> None:
    universe = running()
    universe.reload(workers=3)
    received = universe.controller.pool(POOL).received
    assert received is not None
    assert (received.trigger, received.actor) == ("reload", "reload")
    assert str(received.intent).endswith("because the settings that its workers have fixed in them are as before")
    universe.order("undo", POOL)
    received = universe.controller.pool(POOL).received
    assert received is not None
    assert (received.trigger, received.actor) == ("undo", "somebody")
    assert str(received.intent) == "nothing changes, because no other good generation is known"


def test_the_same_answer_to_a_trigger_is_logged_once_until_something_is_rolled_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trapd.triggers")
    universe = running()
    for reason in ("pip is at work", "a file changed", "another file changed"):
        universe.disk = Disk(DiskState.CHANGING, reason)
        universe._look()
        universe.install("one", GOOD)
    universe.settle("one")
    lines = [record.getMessage() for record in caplog.records if "nothing changes" in record.getMessage()]
    assert lines == [
        "p: disk: nothing changes, because generation 1 is what is installed, under the settings in force",
        "p: disk: nothing changes, because what is installed is changing: pip is at work",
    ]
    universe.install("two", RAISES)
    universe.settle("one")
    for _ in range(3):
        universe._look()
    lines = [record.getMessage() for record in caplog.records if "nothing changes" in record.getMessage()]
    assert "p: disk: nothing changes, because what is installed was refused before for this application" in lines[-1]
    assert len(lines) == 3


def test_recycle_is_a_new_generation_of_the_same_code() -> None:
    universe = running()
    universe.order("recycle", [POOL], reason="memory")
    universe.settle("one")
    assert starts(universe) == {1: 2, 2: 2}


def test_pause_stops_the_clock_and_resume_goes_on() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(40)
    universe.order("pause", POOL)
    universe.run(5000)
    assert starts(universe)[2] <= 2
    universe.order("resume", POOL)
    universe.settle("two")


@pytest.mark.parametrize("seconds", [0, 22, 40], ids=["before the canary", "canary", "rolling"])
def test_a_paused_pool_that_is_scaled_to_nothing_and_back_is_still_paused_where_it_was(seconds: float) -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(seconds)
    universe.order("pause", POOL)
    before = universe.controller.state(POOL)
    universe.order("scale", POOL, 0)
    universe.run(600)
    assert universe.backend.seen() == ()
    universe.order("scale", POOL, 2)
    universe.run(600)
    assert want.progressed(universe.controller.state(POOL), 0) == want.progressed(before, 0)
    assert [i.state for i in universe.backend.seen()] == ["ready", "ready"]
    universe.order("resume", POOL)
    universe.settle("two")


def test_scaling_up_and_down_and_to_nothing() -> None:
    universe = running()
    for workers in (5, 1, 0, 2):
        universe.order("scale", POOL, workers)
        universe.settle("one")


def test_a_rollout_of_a_pool_without_workers_is_over_at_once() -> None:
    universe = running(spec(0))
    assert outcome(universe) is RolloutState.COMPLETE
    universe.order("recycle", [POOL], reason="why not")
    universe.settle("one")
    universe.order("scale", POOL, 2)
    universe.settle("one")


def test_trapd_killed_in_mid_rollout_goes_on_where_it_was() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(41)
    universe.die()
    universe.settle("two")
    assert starts(universe) == {1: 2, 2: 2}, "nothing is done twice"


def test_after_a_boot_on_broken_code_the_last_good_serves() -> None:
    universe = running()
    universe.install("two", RAISES)
    universe.run(5)
    universe.backend._runs.clear()  # power cut
    universe.die()
    universe.run(25)
    serving = [i for i in universe.backend.seen() if i.state == "ready" and i.id.generation == 1]
    assert len(serving) == 2
    universe.settle("one")


def test_if_no_event_ever_arrives_it_only_takes_longer() -> None:
    universe = running()
    universe.lossy = 1.0
    universe.install("two", GOOD)
    universe.settle("two")
    assert starts(universe)[2] == 2


def test_time_without_trapd_is_no_lack_of_progress() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(36)  # past the canary, the second one is starting
    universe.die()
    universe._due.clear()
    universe.run(5000)
    universe.boot()
    universe.settle("two")
    assert outcome(universe) is RolloutState.COMPLETE


def test_a_reboot_in_mid_rollout_does_not_put_off_the_progress_deadline() -> None:
    universe = running()  # hours ago, by a clock that the reboot sets back
    universe.install("two", GOOD)
    universe.run(30)
    universe.behaviours["two"] = RAISES
    universe.reboot(InstanceId(POOL, 2, 1), InstanceId(POOL, 2, 2))
    universe.run(1000)
    assert outcome(universe) is RolloutState.FAILED
    universe.settle("one")


def test_an_absence_of_trapd_is_not_held_against_a_worker_that_failed_meanwhile() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(36)  # past the canary, the second one is starting
    universe.die()
    universe._due.clear()
    universe.run(5000)
    universe.backend.crash(InstanceId(POOL, 2, 2))
    universe.boot()
    universe.settle("two")
    assert outcome(universe) is RolloutState.COMPLETE


def test_stop_drains_everything() -> None:
    universe = running()
    universe.controller.stopping = True
    universe._pass()
    universe.run(60)
    assert universe.backend.seen() == ()


def test_a_machine_that_goes_down_drains_its_workers_itself_and_none_is_started_or_judged() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(10)  # in the middle of the rollout
    before = universe.controller.state(POOL)
    universe.controller.go_down()
    for instance in universe.backend.seen():
        universe._tell(universe.backend.drain(instance.id))  # by systemd
    universe.run(600)
    universe.install("three", GOOD)
    universe.run(600)
    assert universe.backend.seen() == ()
    assert universe.controller.state(POOL) == before
    universe.boot()
    universe.settle("three")


def test_a_shutdown_that_was_cancelled_is_no_shutdown() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(10)
    universe.controller.go_down()
    universe.run(600)
    universe.controller.go_down(False)
    universe.settle("two")


def test_old_snapshots_are_collected_but_never_one_in_use() -> None:
    universe = running()
    for number in range(12):
        universe.install(f"v{number}", GOOD)
        universe.settle(f"v{number}")
    assert len(universe.snapshots.present()) <= 6
    assert universe.controller.state(POOL).wanted in universe.snapshots.present()


def test_what_is_good_is_never_collected_however_many_bad_ones_follow() -> None:
    universe = upgraded()
    for number in range(12):
        universe.install(f"bad{number}", RAISES)
        universe.settle("two")
    assert {1, 2} <= universe.snapshots.present()
    assert len(universe.snapshots.present()) <= 8
    universe.order("undo", POOL, to=1)
    universe.settle("one")


def test_a_reload_rolls_only_the_pools_whose_workers_change() -> None:
    universe = running()
    universe.reload(workers=3)
    universe.settle("one")
    assert starts(universe) == {1: 3}, "a number of workers is not fixed in any worker"
    universe.reload(concurrency=4)
    universe.settle("one")
    assert starts(universe) == {1: 3, 2: 3}


def test_a_scaled_pool_that_is_no_longer_configured_drains() -> None:
    universe = running()
    universe.order("scale", POOL, 4)
    universe.settle("one")
    universe._tell(universe.triggers.reconfigure([], application=application()))
    universe.run(600)
    assert universe.backend.seen() == ()


def test_on_a_full_disk_a_stop_still_drains_and_what_crashed_comes_back() -> None:
    universe = running()
    universe.history.failure = HistoryError("no space left")
    universe.backend.crash(InstanceId(POOL, 1, 1))
    universe.run(60)
    assert [i.state for i in universe.backend.seen()] == ["ready", "ready"]
    universe.controller.stopping = True
    universe._pass()
    universe.run(600)
    assert universe.backend.seen() == ()


FULL = HistoryError("cannot write the history: no space left")


def test_on_a_full_disk_nothing_is_proven_but_what_crashes_comes_back() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(10)
    universe.history.failure = FULL
    universe.run(60)
    assert universe.controller.state(POOL).good == (1,)
    assert "room for the history" in universe.controller.pool(POOL).waiting
    universe.backend.crash(InstanceId(POOL, 1, 1))
    universe.run(60)
    assert {i.id for i in universe.backend.seen() if i.state == "ready"} > {InstanceId(POOL, 1, 1)}
    universe.history.failure = None
    universe.settle("two")


def test_a_full_disk_is_said_once_and_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    universe = running()
    universe.history.failure = FULL
    for _ in range(3):
        universe.backend.crash(InstanceId(POOL, 1, 1))
        universe.run(60)
    assert universe.controller.trouble == str(FULL)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [str(FULL)]
    universe.history.failure = None
    universe.run(600)  # though nothing happens that has to be written down
    assert universe.controller.trouble == ""


def test_on_a_full_disk_a_start_that_is_refused_keeps_no_other_from_being_started() -> None:
    universe = running(spec(3))
    universe.history.failure = FULL
    start = universe.backend.start

    async def refuse(id: InstanceId) -> None:
        if id.slot == 1:
            raise BackendError(f"cannot start {id}: not now")
        await start(id)

    universe.backend.start = refuse  # type: ignore[method-assign]
    for slot in (1, 2):
        universe.backend.crash(InstanceId(POOL, 1, slot))
    universe.run(60)
    assert [i.state for i in universe.backend.seen()] == ["failed", "ready", "ready"]
    universe.backend.start = start  # type: ignore[method-assign]
    universe.settle("one")


def test_a_start_that_is_refused_for_weeks_leaves_a_few_lines_of_history() -> None:
    universe = running(spec(2))
    start, said = universe.backend.start, "not now"

    async def refuse(id: InstanceId) -> None:
        raise BackendError(f"cannot start {id}: {said}")

    universe.backend.start = refuse  # type: ignore[method-assign]
    universe.history.failure = FULL
    universe.backend.crash(InstanceId(POOL, 1, 1))
    universe.run(60)
    universe.history.failure = None  # only from now on can anything be written down
    universe.run(600)
    before = len(universe.history.events(limit=1000))
    universe.run(600)
    assert len(universe.history.events(limit=1000)) == before
    said = "the disk is full"
    universe.run(600)
    universe.backend.start = start  # type: ignore[method-assign]
    universe.settle("one")
    told = [(event.kind, event.reason) for event in universe.history.events(instance=f"{POOL}@1-1")]
    words = ["started", "ready", "crashed", "started", "error", "error", "started", "ready"]
    assert [what for what, _ in told] == words
    assert [why for what, why in told if what == "error"] == [
        f"cannot start {POOL}@1-1: {w}" for w in ("not now", said)
    ]


def test_on_a_full_disk_settings_wait() -> None:
    universe = running()
    universe.history.failure = FULL
    with pytest.raises(HistoryError):
        universe.reload(concurrency=9)
    universe.run(60)
    universe.history.failure = None
    universe.settle("one")
    universe.check_settings()


def test_on_a_full_disk_a_refused_undo_leaves_nothing_behind() -> None:
    universe = upgraded()
    before = universe.controller.state(POOL)
    universe.history.failure = FULL
    for order in ("undo", "undo", "recycle"):
        with pytest.raises(HistoryError):
            universe.order(order, POOL if order == "undo" else [POOL], **({} if order == "undo" else {"reason": ""}))
    universe.install("three", GOOD)
    universe.run(60)
    assert universe.snapshots.present() == {1, 2}
    assert universe.controller.state(POOL) == before
    universe.history.failure = None
    universe.settle("three")


def test_a_pool_that_is_no_longer_configured_drains() -> None:
    universe = running()
    universe.spec = replace(universe.spec, workers=0)
    universe._tell(universe.triggers.reconfigure([], application=application()))
    universe.run(60)
    assert universe.backend.seen() == ()


def test_a_pool_that_is_removed_in_the_middle_of_its_rollout_ends_it_and_is_not_listed_any_more() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(10)
    universe.spec = replace(universe.spec, workers=0)
    universe._tell(universe.triggers.reconfigure([], application=application()))
    assert [view.spec.name for view in universe.controller.pools()] == [POOL], "its workers still drain"
    universe.run(60)
    assert outcome(universe) is RolloutState.SUPERSEDED
    assert universe.controller.pools() == []


def test_a_history_that_begins_anew_uses_no_number_twice() -> None:
    universe = upgraded()
    universe.history = FakeHistory()  # the damaged file was moved away
    universe.backend._runs.clear()
    universe.die()
    universe.run(60)
    universe.settle("two")
    assert universe.controller.state(POOL).wanted == 3


def lost_end(upgrade: Behaviour) -> Universe:
    """Version two runs, and the history is that of the time before it."""
    universe = running()
    before = copy.deepcopy(universe.history)
    universe.install("two", GOOD)
    universe.settle("two")
    universe.die()
    universe.history = before
    universe.behaviours["two"] = upgrade
    universe.run(60)
    return universe


def test_a_history_that_lost_its_end_undoes_nothing_that_runs() -> None:
    universe = lost_end(GOOD)
    assert starts(universe)[1] == 2, "only those of the first start"
    universe.settle("two")
    assert starts(universe) == {1: 2, 2: 2, 3: 2}
    assert universe.triggers.lost_end == ""


def test_a_rollout_of_the_lost_history_is_told_to_be_over() -> None:
    universe = Universe(spec())
    universe.install("one", GOOD)
    universe.run(5)  # in the middle of the first rollout
    before = copy.deepcopy(universe.history)
    universe.settle("one")
    universe.install("two", GOOD)
    universe.settle("two")
    universe.die()
    universe.history = before
    universe.run(60)
    ends = [event.reason for event in before.events(limit=1000) if event.kind == "superseded" and event.rollout == 1]
    assert ends == ["generation 2 runs, of which the history has lost its record"]


def test_after_a_history_lost_its_end_what_runs_serves_where_what_is_installed_does_not_start() -> None:
    universe = lost_end(RAISES)
    assert "the history has lost its end: generation 2 is there" in universe.triggers.lost_end
    universe.run(3600)
    seen = universe.backend.seen()
    assert {(i.id.generation, i.state) for i in seen} >= {(2, InstanceState.READY)}
    assert sum(i.state is InstanceState.READY for i in seen) == 2
    assert starts(universe)[1] == 2


def test_a_history_that_was_begun_anew_is_no_lost_end() -> None:
    """Neither at once nor at the next start, and no number is given twice."""
    universe = running()
    for version in ("two", "three", "four", "five", "six"):
        universe.install(version, GOOD)
        universe.settle(version)
    assert 1 not in universe.snapshots.present(), "its number is free"
    universe.die()
    universe.history = FakeHistory()
    universe.run(60)
    assert universe.triggers.lost_end == ""
    universe.settle("six")
    assert {instance.id.generation for instance in universe.backend.seen()} == {7}
    universe.die()
    universe.run(60)
    assert universe.triggers.lost_end == ""


QUIET = 30.0  # s; longer than a start takes
IMPATIENT = Behaviour(start=5, drain=10)


def told(universe: Universe) -> list[tuple[EventKind, int | None]]:
    return [(event.kind, event.generation) for event in universe.history.events(pool=POOL, limit=1000)]


def test_what_an_installer_vouches_for_starts_at_once_and_nobody_goes_before_it_has_settled() -> None:
    universe = running()
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(QUIET - 1)
    assert starts(universe) == {1: 2, 2: 1}
    assert outcome(universe) is RolloutState.TENTATIVE
    assert [i.state for i in universe.backend.seen()] == [InstanceState.READY] * 3, "for long enough to be proven"
    universe.run(2)
    assert outcome(universe) is RolloutState.ROLLING, "at once: the canary was ready for min_ready"
    universe.settle("two")
    assert starts(universe) == {1: 2, 2: 2}
    phases = [kind for kind, number in told(universe) if number == 2 and kind in set(RolloutState)]
    assert phases == ["preflight", "rolling"]


def test_two_installs_in_a_row_are_one_completed_rollout_and_one_start_more() -> None:
    universe = running()
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(10)
    universe.change("pip is running (process 7)")
    universe.run(5)
    universe.install("three", IMPATIENT, quiet=QUIET)
    universe.settle("three")
    assert starts(universe) == {1: 2, 2: 1, 3: 2}
    first, second = list(universe.history.rollouts(POOL))[1::-1]
    assert (first.state, second.state) == (RolloutState.SUPERSEDED, RolloutState.COMPLETE)
    assert first.reason == "taken back: the disk changed again (pip is running (process 7))"
    assert not universe.controller.state(POOL).refused
    assert second.previous == 1


def test_a_second_install_that_nobody_saw_begin_takes_the_first_back_as_well() -> None:
    universe = running()
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(10)
    universe.install("three", IMPATIENT, quiet=QUIET)
    universe.settle("three")
    assert starts(universe) == {1: 2, 2: 1, 3: 2}
    rollouts = universe.history.rollouts(POOL)
    assert [r.state for r in rollouts[:2]] == [RolloutState.COMPLETE, RolloutState.SUPERSEDED]
    assert rollouts[1].reason.startswith("taken back: ")
    assert "pkg one -> three" in universe.history.generations()[3].reason


def test_what_is_put_back_before_it_settled_costs_one_start() -> None:
    universe = running()
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(10)
    universe.install("one", GOOD, quiet=QUIET)
    universe.settle("one")
    assert starts(universe) == {1: 2, 2: 1}


def test_half_an_upgrade_that_cannot_start_is_not_rejected() -> None:
    universe = running()
    universe.install("half", replace(RAISES, start=1), quiet=QUIET)
    universe.run(10)
    assert starts(universe) == {1: 2, 2: 1}, "it is neither tried again nor compared with the good one"
    universe.change("pip is running (process 7)", DiskState.BROKEN)
    universe.run(120)
    universe.install("whole", GOOD, quiet=QUIET)
    universe.settle("whole")
    assert not universe.controller.state(POOL).refused
    assert EventKind.REJECTED not in [kind for kind, _ in told(universe)]


def test_code_that_failed_before_it_settled_is_tried_again_when_it_has() -> None:
    universe = running()
    universe.install("two", replace(RAISES, start=1), quiet=QUIET)
    universe.run(10)
    universe.behaviours["two"] = GOOD  # data that it reads was copied, say
    universe.settle("two")
    assert outcome(universe) is RolloutState.COMPLETE


def test_code_that_raises_is_rejected_when_it_has_settled() -> None:
    universe = running()
    universe.install("two", replace(RAISES, start=1), quiet=QUIET)
    universe.settle("one")
    assert outcome(universe) is RolloutState.REJECTED
    assert starts(universe)[2] == 2


@pytest.mark.parametrize("seed", range(3))  # which decides for how long no trapd is there
@pytest.mark.parametrize("orphans_drain", [False, True])
def test_a_trapd_that_is_killed_before_the_code_settled_rolls_it_out_all_the_same(
    orphans_drain: bool, seed: int
) -> None:
    universe = running(seed=seed)
    universe.orphans_drain = orphans_drain
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(10)
    universe.die()
    universe.settle("two")
    assert outcome(universe) is RolloutState.COMPLETE
    assert not universe.controller.state(POOL).refused
    extra = 2 if orphans_drain else 1  # those that the killed trapd took along
    assert starts(universe)[2] + starts(universe)[3] <= 2 + extra


def test_what_a_person_orders_before_the_code_settled_holds() -> None:
    universe = running()
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(10)
    universe.order("undo", POOL)
    universe.settle("one")
    universe = running()
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(10)
    universe.order("recycle", [POOL], reason="memory")
    universe.run(5)
    assert outcome(universe) is RolloutState.TENTATIVE, "a copy of what has not settled has not, either"
    universe.settle("two")
    universe = running()
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(10)
    universe.reload(concurrency=9)
    universe.run(5)
    assert outcome(universe) is RolloutState.TENTATIVE
    universe.settle("two")


def test_a_pool_without_a_surge_waits_for_the_code_to_settle() -> None:
    universe = running(spec(surge=0, unavailable=1))
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(QUIET - 1)
    assert starts(universe) == {1: 2}
    universe.settle("two")


@pytest.mark.parametrize("workers", [0, 3])
def test_a_pool_that_is_scaled_meanwhile_comes_to_rest(workers: int) -> None:
    universe = running()
    universe.install("two", IMPATIENT, quiet=QUIET)
    universe.run(10)
    universe.order("scale", POOL, workers)
    universe.run(5)
    assert outcome(universe) is RolloutState.TENTATIVE
    universe.settle("two")


def test_code_that_settles_while_another_rollout_goes_on_waits_for_its_quiet_period() -> None:
    universe = running()
    universe.install("two", GOOD)
    universe.run(5)
    universe.install("three", IMPATIENT, quiet=QUIET)
    universe.run(5)
    assert universe.controller.state(POOL).wanted == 2, "nothing is taken from a rollout that goes on"
    universe.settle("three")
