"""New code on trial: who is asked, what is suspicious, when a retrial is over, and what a promotion waits for."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.support.builders import NOW, failure, one, spec, wanting, world
from trapd.model import Ailment, FailureKind, Instance, PoolState, Retrial, RolloutState
from trapd.rollout import want
from trapd.rollout.actions import Clear, Doubt, Fail, Finish, Promote, Reject, Start, Suspect, Verify
from trapd.rollout.plan import plan
from trapd.rollout.trial import (
    ALONE_TIME,
    LOOK,
    LOOK_RARELY,
    LOOK_SELDOM,
    MOST_RETRIALS,
    RETRIAL_TIME,
    WITNESS_TIME,
    abstaining,
    figures,
    find,
    look_again,
    on_probation,
    questions,
)
from trapd.rollout.verdict import verdict
from trapd.rollout.world import TRIES, World
from trapd.spec import OnFailure, PoolSpec, Promotion
from trapd.work import TaskCounts, Work

OLD, CANARY = one("1-1", pid=11), one("2-1", ago=10.0, pid=21)


def counts(succeeded: int, failed: int, error: str = "KeyError") -> TaskCounts:
    return TaskCounts(succeeded=succeeded, failed={error: failed} if failed else {})


def policy(pool: PoolSpec, **more: object) -> PoolSpec:
    return replace(pool, policy=replace(pool.policy, **more))  # type: ignore[arg-type]


def trying(
    new: TaskCounts | None = None,
    old: TaskCounts | None = None,
    *,
    pool: PoolSpec | None = None,
    retrial: tuple[TaskCounts, TaskCounts] | None = None,
    since: float = NOW - 1,
    phase: RolloutState = RolloutState.CANARY,
    seen: tuple[Instance, ...] = (OLD, CANARY),
    good: tuple[int, ...] = (1,),
) -> World:
    """Generation 2 beside generation 1; ``retrial``: what is counted since one began, of the new code and the old."""
    state: PoolState = wanting(2, *good, phase=phase)
    assert state.rollout is not None
    begun = (Retrial("add", 1, since, "worse"),) if retrial else ()
    state = replace(state, rollout=replace(state.rollout, before={}, retrials=begun, finished_at=NOW - 10))
    sides = ((CANARY, new, retrial and retrial[0]), (OLD, old, retrial and retrial[1]))
    works = {
        i.id: Work(counts={"add": all_} if all_ else {}, retrials={"add": apart} if apart else {})
        for i, all_, apart in sides
    }
    return world(pool or spec(1), state, *seen, works=works)


def test_old_and_new_workers_are_asked_with_the_mark_of_the_retrial() -> None:
    assert questions(trying(), NOW) == {CANARY.id: {}, OLD.id: {}}
    asked = questions(trying(retrial=(counts(0, 0), counts(0, 0))), NOW)
    assert asked == {CANARY.id: {"add": "1.1.11"}, OLD.id: {"add": "1.1.11"}}
    alone = trying(retrial=(counts(0, 0), counts(0, 0)), seen=(CANARY,))
    assert questions(alone, NOW) == {CANARY.id: {}}, "alone it proves nothing"


@pytest.mark.parametrize(
    "nobody",
    [
        trying(pool=policy(spec(1), judge=False)),
        trying(pool=spec(1, singleton=True)),
        trying(phase=RolloutState.TENTATIVE),
        trying(phase=RolloutState.REJECTED),
        replace(trying(), state=replace(trying().state, paused=True)),
        trying(good=()),
        replace(trying(phase=RolloutState.COMPLETE, good=(1, 2)), awake_since=0.0, stopping=True),
    ],
    ids=["no judge", "a singleton", "tentative", "over", "paused", "nothing to compare with", "stopping"],
)
def test_nobody_is_asked_where_nothing_is_on_trial(nobody: World) -> None:
    assert questions(nobody, NOW) == {}
    assert look_again(nobody, NOW) is None


def test_a_silent_worker_is_not_asked() -> None:
    assert OLD.id not in questions(trying(seen=(replace(OLD, ailment=Ailment.SILENT), CANARY)), NOW)


def test_the_looks_are_a_second_apart_and_seldom_for_what_is_good() -> None:
    assert look_again(trying(), NOW) == NOW + LOOK
    done = {"phase": RolloutState.COMPLETE, "good": (1, 2)}
    assert look_again(trying(**done), NOW) == NOW + LOOK_SELDOM  # type: ignore[arg-type]
    assert look_again(trying(**done), NOW + 6000) is None  # type: ignore[arg-type]
    rolling = trying(phase=RolloutState.ROLLING, good=(1, 2))
    assert look_again(rolling, NOW) == NOW + LOOK_SELDOM
    assert look_again(rolling, NOW + 600) is None, "drains may take hours"
    open_ = trying(retrial=(counts(0, 0), counts(0, 0)), **done)  # type: ignore[arg-type]
    assert look_again(open_, NOW) == NOW + LOOK


def test_the_old_code_s_figures_are_remembered_once() -> None:
    known = trying(old=counts(99, 1))
    assert figures(known, NOW) is None
    assert known.state.rollout is not None
    fresh = replace(known, state=replace(known.state, rollout=replace(known.state.rollout, before=None)))
    assert figures(fresh, NOW) == {"add": (100, 1)}
    assert figures(replace(fresh, works={}), NOW) is None, "nobody answers yet"
    assert figures(replace(fresh, works={}, instances=(CANARY,)), NOW) == {}, "nobody is there"


def test_worse_figures_are_a_suspicion_and_no_promotion() -> None:
    suspicious = trying(counts(0, 3), counts(99_000, 1_000))
    assert find(suspicious, NOW).suspects == (("add", "3 of 3 failed, KeyError; 1 of 100 before"),)
    actions = plan(suspicious, NOW).actions
    assert [action for action in actions if isinstance(action, Suspect)]
    assert not [action for action in actions if isinstance(action, Promote)]


def test_an_outage_of_the_past_does_not_hide_that_new_code_fails() -> None:
    old = replace(counts(500, 500), latest=(50, 0))
    assert find(trying(counts(0, 3), old), NOW).suspects == (("add", "3 of 3 failed, KeyError; 0 of 50 before"),)
    began = trying(old=old)
    assert began.state.rollout is not None
    began = replace(began, state=replace(began.state, rollout=replace(began.state.rollout, before=None)))
    assert figures(began, NOW) == {"add": (50, 0)}, "and it is remembered so"
    ended = trying(counts(0, 3), old)
    assert ended.state.rollout is not None
    rollout = replace(ended.state.rollout, before={"add": (100, 90)})
    assert find(replace(ended, state=replace(ended.state, rollout=rollout)), NOW).suspects, "it has just ended"


def test_a_task_of_which_nothing_is_known_is_suspected_if_the_old_code_has_it() -> None:
    """Its workers were started a moment ago. A worker of code without that task would set the messages aside."""
    assert find(trying(counts(0, 9)), NOW).suspects == ()
    known = replace(trying(counts(0, 2)), tasks={1: {"add": ""}})
    assert find(known, NOW).suspects == (("add", "2 of 2 failed, KeyError; 0 of 0 before"),)
    assert find(replace(known, tasks={1: {"mul": ""}, 2: {"add": ""}}), NOW).suspects == ()


def test_a_rollout_is_not_complete_while_its_tasks_are_compared() -> None:
    """Whoever waits for it would read success, and go on to the next machine."""

    def decided(new: TaskCounts, retrial: tuple[TaskCounts, TaskCounts] | None = None) -> list[type]:
        rolled = trying(new, retrial=retrial, phase=RolloutState.ROLLING, good=(1, 2), seen=(CANARY,))
        return [type(action) for action in plan(rolled, NOW).actions]

    assert decided(counts(9, 0)) == [Finish]
    assert decided(counts(0, 3), (counts(0, 3), counts(0, 0))) == [Start], "the old worker to compare with"


@pytest.mark.parametrize("new", [counts(0, 0), counts(30, 0), counts(0, 30, "SoftTimeLimitExceeded"), counts(1, 1)])
def test_what_is_not_suspicious_is_promoted(new: TaskCounts) -> None:
    assert isinstance(plan(trying(new, counts(50, 50)), NOW).actions[0], Promote)


def test_evidence_rejects_a_canary_and_gives_up_what_was_good() -> None:
    sides = (counts(0, 12), counts(239, 1))
    before = trying(retrial=sides)
    [asked] = [action for action in plan(before, NOW).actions if isinstance(action, Verify)]
    assert asked.why == (
        "add: canary 12 of 12 failed, KeyError; others 1 of 240 meanwhile; the old code takes these tasks alone"
    )
    assert not abstaining(before, NOW)
    going = alone(before, asked, counts(10, 0))
    assert abstaining(going, NOW)
    assert questions(going, NOW) == {id: {"add": "1.1.11.alone"} for id in (CANARY.id, OLD.id)}
    assert "add: 0 of 10 failed with the old code alone" in plan(going, NOW).waiting
    (verdict,) = plan(alone(before, asked, counts(500, 2)), NOW).actions
    assert verdict == Reject(2, "add: canary 12 of 12 failed, KeyError; others 1 of 240 meanwhile")
    assert plan(going, NOW + ALONE_TIME).actions == (verdict,), "as far as the old code has come"
    for phase in (RolloutState.ROLLING, RolloutState.COMPLETE):
        proven = alone(trying(retrial=sides, phase=phase, good=(1, 2)), asked, counts(500, 2))
        (verdict,) = plan(proven, NOW).actions
        assert verdict == Fail(2, "add: new workers 12 of 12 failed, KeyError; others 1 of 240 meanwhile")


def test_inputs_that_the_old_code_fails_as_well_convict_nobody() -> None:
    before = trying(retrial=(counts(0, 7), counts(7, 0)))
    [asked] = [action for action in plan(before, NOW).actions if isinstance(action, Verify)]
    found = find(alone(before, asked, counts(20, 20)), NOW)
    assert (found.evidence, found.cleared) == (
        None,
        (("add", "the inputs are to blame: 20 of 40 failed with the old code alone"),),
    )


def test_the_tasks_in_hand_belong_to_the_comparison() -> None:
    before = trying(retrial=(counts(0, 7), counts(7, 0)))
    [asked] = [action for action in plan(before, NOW).actions if isinstance(action, Verify)]
    going = alone(before, asked, counts(40, 0))
    assert find(going, NOW).evidence is not None
    for canary, old, word in (
        (counts(1, 8), counts(8, 9), "with the tasks in hand both codes fail alike"),
        (counts(0, 16), counts(8, 9), "the inputs have changed meanwhile"),
    ):
        found = find(compared(going, canary, old), NOW)
        assert found.cleared == (("add", f"{word}: 0 of 40 failed with the old code alone"),)
    whole = find(compared(going, counts(0, 9), counts(9, 0)), NOW)
    assert str(whole.evidence) == "add: canary 9 of 9 failed, KeyError; others 0 of 9 meanwhile"
    late = compared(going, counts(0, 9), replace(counts(9, 0), received=12))
    assert (find(late, NOW).evidence, len(find(late, NOW).open)) == (None, 1), "three are in hand"
    assert find(late, NOW + ALONE_TIME).evidence is not None, "as far as they have come"
    gone = compared(going, counts(0, 2), counts(7, 0))
    assert str(find(gone, NOW).evidence).startswith("add: canary 7 of 7 failed"), "a worker that counted is gone"


def test_a_name_that_the_old_code_has_cleared_is_tried_once_more() -> None:
    begun = trying(new=counts(0, 12), retrial=(counts(0, 12), counts(200, 0)))
    rollout = begun.state.rollout
    assert rollout is not None

    def suspects(*retrials: Retrial) -> list[str]:
        state = replace(begun.state, rollout=replace(rollout, retrials=retrials, before={"add": (100, 1)}))
        return [name for name, _ in find(replace(begun, state=state), NOW).suspects]

    over = Retrial("add", 1, NOW - 60, "worse", over=True)
    cleared = replace(over, compared={}, alone_since=NOW - 30)
    assert suspects(over) == [], "enough tasks were compared"
    assert suspects(cleared) == ["add"]
    assert suspects(cleared, replace(cleared, number=2)) == []


def compared(world: World, new: TaskCounts, old: TaskCounts) -> World:
    """With the tasks that were in hand, which have ended so."""
    works = {CANARY.id: replace(world.works[CANARY.id], compared={"add": new})}
    return replace(world, works={**works, OLD.id: replace(world.works[OLD.id], compared={"add": old})})


def test_new_workers_wait_for_an_old_one_to_compare_with_but_not_for_long() -> None:
    began = trying(retrial=(counts(0, 0), counts(0, 0)))
    assert not abstaining(began, NOW)
    nobody = replace(began, instances=(CANARY,))
    assert abstaining(nobody, NOW)
    assert not abstaining(nobody, NOW + WITNESS_TIME)
    assert not abstaining(replace(nobody, state=replace(nobody.state, good=(1, 2))), NOW), "a pool would stand still"
    assert not abstaining(replace(nobody, state=replace(nobody.state, paused=True)), NOW)


def alone(world: World, action: Verify, old: TaskCounts) -> World:
    """The old code takes the tasks alone, and has come so far."""
    state = want.verified(world.state, action, NOW)
    return replace(world, state=state, works={CANARY.id: Work(), OLD.id: Work(retrials={"add": old})})


def test_a_retrial_is_over_after_enough_tasks_or_some_time() -> None:
    far = trying(retrial=(counts(99, 1), counts(99, 1)))
    [(task, why)] = find(far, NOW).cleared
    assert (task, why) == ("add", "1 of 100 failed, and 1 of 100 of the old code's meanwhile")
    near = trying(retrial=(counts(0, 3), counts(0, 3)))
    assert (find(near, NOW).cleared, len(find(near, NOW).open)) == ((), 1)
    assert "a comparison of tasks that began to fail (add: 3 of 3 failed" in plan(near, NOW).waiting
    assert not [action for action in plan(near, NOW).actions if isinstance(action, Promote)]
    late = trying(retrial=(counts(0, 3), counts(0, 3)), since=NOW - RETRIAL_TIME)
    assert find(late, NOW).cleared[0][1].startswith("too few tasks came to decide: ")
    assert [
        action
        for action in plan(replace(late, instances=(OLD, one("2-1", ago=2.0, pid=21))), NOW).actions
        if isinstance(action, Clear)
    ]


def test_only_so_many_retrials_are_open_at_a_time() -> None:
    suspicious = trying()
    bad = Work(counts={f"task{number}": counts(0, 9) for number in range(20)})
    fine = Work(counts={f"task{number}": counts(99, 0) for number in range(20)})
    assert len(find(replace(suspicious, works={CANARY.id: bad, OLD.id: fine}), NOW).suspects) == MOST_RETRIALS


def test_a_canary_works_for_canary_time_or_ends_canary_tasks() -> None:
    patient = policy(spec(1), canary_time=60.0)
    waits = plan(trying(counts(99, 0), pool=patient), NOW)
    assert not [action for action in waits.actions if isinstance(action, Promote)]
    assert "p@2-1 to end 100 tasks, or for canary_time to be over" in waits.waiting
    assert isinstance(plan(trying(counts(100, 0), pool=patient), NOW).actions[0], Promote)
    assert isinstance(plan(trying(counts(0, 0), pool=patient), NOW + 50).actions[0], Promote)


def test_a_person_is_asked_after_the_judge() -> None:
    manual = policy(spec(1), canary_time=60.0, promote=Promotion.MANUAL)
    assert plan(trying(counts(9, 0), pool=manual), NOW).gate is None
    assert plan(trying(counts(100, 0), pool=manual), NOW).gate is not None


def test_a_worker_of_the_good_generation_starts_for_a_retrial_though_there_is_no_surge() -> None:
    retrial = (counts(0, 0), counts(0, 0))
    alone = trying(
        retrial=retrial,
        pool=spec(1, surge=0, unavailable=1),
        phase=RolloutState.COMPLETE,
        good=(1, 2),
        seen=(CANARY,),
    )
    starts = [action for action in plan(alone, NOW).actions if action.verb == "start"]
    assert [str(action.instance) for action in starts] == ["p@1-1"]
    beside = trying(retrial=retrial, phase=RolloutState.COMPLETE, good=(1, 2))
    assert not [action for action in plan(beside, NOW).actions if action.verb == "drain"], "and stays"


def test_the_place_for_the_comparison_is_gone_with_the_last_retrial() -> None:
    """Three workers without a surge: while one is open there may be four, and none is started as the fourth when it is
    over in the same plan."""
    seen = (OLD, one("1-2"), CANARY)
    at_work = {"pool": spec(3, surge=0, unavailable=1), "phase": RolloutState.ROLLING, "good": (1, 2), "seen": seen}
    going = trying(retrial=(counts(0, 3), counts(0, 3)), **at_work)  # type: ignore[arg-type]
    assert [action.verb for action in plan(going, NOW).actions].count("start") == 1
    over = trying(retrial=(counts(0, 3), counts(0, 3)), since=NOW - RETRIAL_TIME, **at_work)  # type: ignore[arg-type]
    planned = plan(over, NOW)
    assert [action for action in planned.actions if isinstance(action, Clear)]
    assert not [action for action in planned.actions if isinstance(action, Start)]
    assert planned.wake_at == NOW


def after(ago: float, ended: int, before: int = 1, **more: object) -> World:
    """So long after its rollout, in this probation. ``ended``: tasks."""
    at_rest = trying(counts(ended, 0), phase=RolloutState.COMPLETE, good=(1, 2), **more)  # type: ignore[arg-type]
    assert at_rest.state.rollout is not None
    rollout = replace(at_rest.state.rollout, finished_at=NOW - ago, probations=before)
    return replace(at_rest, state=replace(at_rest.state, rollout=rollout))


@pytest.mark.parametrize(
    ("ago", "ended", "before", "probations"),
    [
        (599, 1000, 1, None),
        (600, 1000, 1, 0),
        (600, 99, 1, 2),
        (700, 100, 2, None),  # these tasks came late
        (1200, 100, 2, 0),
        (4000, 0, 2, 7),  # nobody looked for a while
        (5999, 0, 10, None),
        (6000, 0, 10, None),  # long since
    ],
)
def test_a_probation_in_which_too_few_tasks_ended_is_followed_by_another_but_not_for_ever(
    ago: float, ended: int, before: int, probations: int | None
) -> None:
    assert plan(after(ago, ended, before), NOW).probations == probations
    assert bool(questions(after(ago, ended, before), NOW)) is (ago < 6000)


def test_a_pool_in_which_few_tasks_came_is_looked_at_rarely() -> None:
    """An idle trapd costs nothing to speak of."""
    assert look_again(after(599, 0), NOW) == NOW + LOOK_SELDOM
    assert look_again(after(700, 0, 2), NOW) == NOW + LOOK_RARELY
    assert look_again(after(700, 0, 2, retrial=(counts(0, 0), counts(0, 0))), NOW) == NOW + LOOK


def test_what_is_remembered_of_a_probation() -> None:
    longer = want.with_probations(after(600, 0).state, 2)
    assert longer.rollout == replace(after(600, 0, 2).state.rollout)  # type: ignore[type-var]
    assert want.with_probations(longer, None) == longer
    over = replace(after(1200, 100), state=want.with_probations(longer, 0))
    assert not questions(over, NOW)
    assert look_again(over, NOW) is None
    assert not on_probation(over, NOW)


def test_where_nobody_counts_tasks_a_probation_ends_by_time_alone() -> None:
    for pool in (policy(spec(1), judge=False), spec(1, singleton=True)):
        assert on_probation(after(599, 0, pool=pool), NOW)
        assert not on_probation(after(600, 0, pool=pool), NOW)
        assert plan(after(600, 0, pool=pool), NOW).probations is None


def test_a_probation_does_not_end_in_a_retrial() -> None:
    assert plan(after(700, 200, retrial=(counts(5, 5), counts(5, 4))), NOW).probations is None


@pytest.mark.parametrize("kind", [FailureKind.CRASH, FailureKind.WATCHDOG])
def test_what_fails_again_and_again_in_its_probation_is_held_where_on_failure_says_so(kind: FailureKind) -> None:
    def judged(failures: int, ago: float, on_failure: OnFailure) -> Doubt | Fail | None:
        fails = one("2-1", "failed", failures=failures, failure=failure(1, kind, was_ready=True))
        found = verdict(after(ago, 0, pool=policy(spec(1), on_failure=on_failure), seen=(fails,)), NOW)
        assert found is None or isinstance(found, Doubt | Fail)
        return found

    held = judged(TRIES[kind], 10, OnFailure.HOLD)
    assert isinstance(held, Fail)
    assert re.fullmatch(rf"p@2-1 .+ {TRIES[kind]} times in a row \(.+\)", held.why)
    assert isinstance(judged(TRIES[kind], 10, OnFailure.REVERT), Doubt)
    for on_failure in OnFailure:
        assert judged(TRIES[kind] - 1, 10, on_failure) is None
        if kind is FailureKind.CRASH:
            assert judged(TRIES[kind], 6000, on_failure) is None, "long since"


def test_what_is_held_after_its_probation_was_convicted_stays() -> None:
    held = policy(spec(1), on_failure=OnFailure.HOLD)
    failed = trying(pool=held, phase=RolloutState.FAILED, seen=(CANARY,))
    assert plan(failed, NOW).actions == ()
