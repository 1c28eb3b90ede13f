"""What the new code's registered tasks lack of those of the code before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trapd.event import EventKind
from trapd.model import Generation, PoolState, Rollout, RolloutState, TaskChanges
from trapd.rollout.task_changes import between, compared, may_serve, sentence


def generation(number: int, tasks: dict[str, str] | None) -> Generation:
    return Generation(number, "f", {}, {}, "r", "a", 1.0, tasks=tasks)


def state(phase: RolloutState = RolloutState.PREFLIGHT, previous: int | None = 1) -> PoolState:
    rollout = Rollout(5, "p", 2, previous, phase, "r", "a", 1.0, 0.0)
    return PoolState("p", wanted=2, good=(1,), rollout=rollout)


def test_names_that_went_and_signatures_that_are_others() -> None:
    before = {"gone": "1", "same": "2", "other": "3", "no signature": "", "now none": "4"}
    after = {"same": "2", "other": "33", "no signature": "5", "now none": "", "new": "6"}
    assert between(before, after) == TaskChanges(("gone",), ("other",))


def test_a_rollout_is_compared_once_and_the_event_names_the_tasks() -> None:
    known = {1: generation(1, {"a": "1", "b": "2"}), 2: generation(2, {"b": "3"})}
    found = compared(state(), known, 7.0)
    assert found is not None
    after, [event] = found
    assert after.rollout is not None
    assert after.rollout.tasks == TaskChanges(("a",), ("b",))
    assert (event.kind, event.wall, event.rollout, event.generation) == (EventKind.TASKS_CHANGED, 7.0, 5, 2)
    assert (
        event.reason
        == sentence(after.rollout)
        == (
            "generation 2 does not have task a: the messages wait in QUEUE.trapd-parked until a worker knows the name; "
            "generation 2 has another signature for task b: a message with arguments of the signature before may fail"
        )
    )
    assert compared(after, known, 8.0) is None


def test_without_a_loss_nothing_is_told() -> None:
    found = compared(state(), {1: generation(1, {"a": "1"}), 2: generation(2, {"a": "1", "b": "2"})}, 7.0)
    assert found is not None
    after, events = found
    assert not events
    assert after.rollout is not None
    assert sentence(after.rollout) == sentence(None) == ""


@pytest.mark.parametrize(
    ("before", "after"), [(None, {"a": "1"}), ({"a": "1"}, None)], ids=["before is not known", "after is not known"]
)
def test_what_no_worker_has_told_is_not_compared(before: dict[str, str] | None, after: dict[str, str] | None) -> None:
    assert compared(state(), {1: generation(1, before), 2: generation(2, after)}, 7.0) is None


def test_a_rollout_that_is_over_or_the_first_is_not_compared() -> None:
    known = {1: generation(1, {"a": "1"}), 2: generation(2, {})}
    assert compared(state(RolloutState.COMPLETE), known, 7.0) is None
    assert compared(state(previous=None), known, 7.0) is None
    assert compared(replace(state(), rollout=None), known, 7.0) is None


def test_of_many_names_the_first_are_shown() -> None:
    rollout = state().rollout
    assert rollout is not None
    text = sentence(replace(rollout, tasks=TaskChanges(tuple(f"t{number}" for number in range(9)))))
    assert "tasks t0, t1, t2, t3, t4, t5 and 3 more:" in text


def test_a_worker_may_serve_unless_its_tasks_are_to_be_compared_or_differ_behind_a_closed_gate() -> None:
    known = {1: generation(1, {"a": "1"}), 2: generation(2, None)}
    begun, rollout = state(), state().rollout
    assert rollout is not None
    differs = replace(begun, rollout=replace(rollout, tasks=TaskChanges(("a",))))
    assert not may_serve(begun, known, 2, holds=True)
    assert not may_serve(begun, known, 2, holds=False), "not yet compared"
    assert may_serve(differs, known, 2, holds=False)
    assert may_serve(begun, known, 1, holds=True)
    assert may_serve(begun, {1: generation(1, None)}, 2, holds=True)
    assert may_serve(replace(begun, rollout=replace(rollout, tasks=TaskChanges())), known, 2, holds=True)
    assert not may_serve(differs, known, 2, holds=True)
    assert may_serve(
        replace(begun, rollout=replace(rollout, tasks=TaskChanges(("a",)), opened=("tasks",))), known, 2, holds=True
    )
    assert may_serve(replace(differs, good=(1, 2)), known, 2, holds=True)
    assert may_serve(state(RolloutState.COMPLETE), known, 2, holds=True)
