"""What no plan may ever do, on pools in any state, reachable or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.builders import NOW, spec
from tests.support.repetitions import times
from trapd.model import (
    Ailment,
    CodeReport,
    Failure,
    FailureKind,
    Instance,
    InstanceId,
    InstanceState,
    PoolState,
    Retrial,
    Rollout,
    RolloutState,
)
from trapd.rollout.actions import Drain, Forget, Promote, Reject, Start
from trapd.rollout.budget import budget
from trapd.rollout.plan import plan
from trapd.rollout.room import Room
from trapd.rollout.trial import retried
from trapd.rollout.world import World

GENERATIONS = st.integers(1, 3)
AGO = st.sampled_from([0.0, 1.0, 5.0, 40.0, 700.0])
RARELY = st.sampled_from([False] * 7 + [True])
KINDS = (*FailureKind, FailureKind.CODE, FailureKind.TIMEOUT, FailureKind.WATCHDOG)  # more of those that are blamed
SERVING = (InstanceState.READY,)
RETRIAL = Retrial("t", 1, NOW - 5.0, "it fails more often than before")
RETRIALS = st.sampled_from([(), (), (RETRIAL,), (replace(RETRIAL, over=True),)])
RUNNING = (InstanceState.STARTING, InstanceState.READY)


@st.composite
def instances(draw: st.DrawFn) -> tuple[Instance, ...]:
    names = draw(st.sets(st.tuples(GENERATIONS, st.integers(1, 3)), max_size=7))
    return tuple(draw(instance(InstanceId("p", g, s))) for g, s in sorted(names))


@st.composite
def instance(draw: st.DrawFn, id: InstanceId) -> Instance:
    state = draw(st.sampled_from([*InstanceState, *SERVING, *SERVING, InstanceState.FAILED]))
    since = NOW - draw(AGO)
    failure = draw(st.none() | st.builds(Failure, st.sampled_from(KINDS), st.just("s"), st.just("d"), st.just(since)))
    failed = state is InstanceState.FAILED
    if failed and failure is None:
        failure = Failure(FailureKind.CRASH, "s", "d", since)
    alive_at = draw(st.sampled_from([since, NOW]))
    stray = CodeReport(id.generation, "d", {}, ("x=y",))
    report = draw(st.sampled_from([None, CodeReport(id.generation, "d", {}), stray, stray]))
    return Instance(
        id,
        state,
        since,
        ready_at=since if state is InstanceState.READY else None,
        alive_at=alive_at if state is InstanceState.READY else None,
        ailment=draw(st.sampled_from([None] * 5 + [*Ailment])) if state in RUNNING else None,
        active_tasks=draw(st.none() | st.integers(0, 3)),
        failures=draw(st.integers(1, 5)) if failed else draw(st.integers(0, 2)),
        failure=failure,
        report=report if state is InstanceState.READY else None,
    )


@st.composite
def goods(draw: st.DrawFn, wanted: int | None) -> tuple[int, ...]:
    """Half of the pools are past their canary."""
    others = [g for g in draw(st.lists(GENERATIONS, unique=True, max_size=3)) if g != wanted]
    return (*others, wanted) if wanted is not None and draw(st.booleans()) else tuple(others)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    surge, unavailable = draw(st.sampled_from([(1, 0), (0, 1), (2, 1), (3, 0)]))
    pool = spec(
        draw(st.integers(0, 4)),
        surge=surge,
        unavailable=unavailable,
        draining=draw(st.sampled_from([None, None, 0, 1, 3])),
        hold=draw(RARELY),
        drain_timeout=draw(st.sampled_from([None, 30.0])),
    )
    wanted = None if draw(RARELY) else draw(GENERATIONS)
    phase = draw(st.sampled_from([*RolloutState, RolloutState.ROLLING, RolloutState.COMPLETE, RolloutState.CANARY]))
    rollout = (
        None
        if wanted is None
        else Rollout(1, "p", wanted, draw(st.none() | GENERATIONS), phase, "", "", 0.0, NOW - draw(AGO))
    )
    retrials = draw(RETRIALS)
    if rollout is not None:
        rollout = replace(rollout, retrials=retrials, before={"t": (90, 1)})
    state = PoolState(
        "p",
        wanted=wanted,
        good=draw(goods(wanted)),
        paused=draw(RARELY),
        rollout=rollout,
    )
    usable = frozenset(draw(st.sets(GENERATIONS)))
    room = draw(st.sampled_from([None, None, Room(), *(Room(n, n * 100, 100) for n in range(4))]))
    world = World(pool, state, draw(instances()), usable, eager=draw(RARELY), stopping=draw(RARELY), room=room)
    return replace(world, interrupted={i.id: -math.inf for i in world.instances if i.id.slot % 2})


EXAMPLES = times(200, 2_000)
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

pytestmark = [pytest.mark.long, pytest.mark.timeout(times(60, 1800))]


@pytest.fixture(autouse=True)
def recorded(record_property: Callable[[str, object], None]) -> None:
    record_property("times", EXAMPLES)


@many
@given(worlds())
def test_never_more_alive_than_the_ceiling_allows(world: World) -> None:
    starts = [a for a in plan(world, NOW).actions if isinstance(a, Start)]
    live = sum(i.state is not InstanceState.FAILED for i in world.instances)
    known = world.room is None or world.room.workers is not None
    if starts:
        compared = retried(world)
        assert live + len(starts) <= budget(world.spec, world.wanted_workers, sized=known, retrial=compared).ceiling


@many
@given(worlds())
def test_never_more_alive_than_wanted_but_where_there_is_memory(world: World) -> None:
    thought = plan(world, NOW)
    starts = [a for a in thought.actions if isinstance(a, Start)]
    live = sum(i.state is not InstanceState.FAILED for i in world.instances)
    if starts and world.room is not None and world.room.workers is not None:
        assert len(starts) <= max(world.room.workers, world.wanted_workers - live)
    if thought.short:
        assert thought.short in thought.waiting, "a rollout that waits for memory says so"


@many
@given(worlds())
def test_a_singleton_is_started_only_where_nothing_else_is_alive(world: World) -> None:
    alone = replace(world, spec=replace(world.spec, singleton=True))
    starts = [a for a in plan(alone, NOW).actions if isinstance(a, Start)]
    assert len(starts) <= 1
    if starts:
        assert all(i.state is InstanceState.FAILED for i in world.instances)


@many
@given(worlds())
def test_never_fewer_serving_than_the_floor_by_our_own_act(world: World) -> None:
    drained = {a.instance for a in plan(world, NOW).actions if isinstance(a, Drain)}
    serving = [i for i in world.instances if i.state in SERVING]
    left = [i for i in serving if i.id not in drained]
    if len(left) < len(serving) and world.wanted_workers:
        assert len(left) >= budget(world.spec, world.wanted_workers).floor


@many
@given(worlds())
def test_nothing_is_started_without_its_snapshot_or_while_stopping(world: World) -> None:
    starts = [a.instance.generation for a in plan(world, NOW).actions if isinstance(a, Start)]
    assert set(starts) <= world.usable
    assert not (starts and (world.stopping or world.eager))


@many
@given(worlds())
def test_one_action_for_an_instance_and_a_verdict_stands_alone(world: World) -> None:
    actions = plan(world, NOW).actions
    touched = [a.instance for a in actions if a.instance is not None]
    assert len(touched) == len(set(touched))
    if any(a.verb in ("promote", "reject", "fail", "finish") for a in actions):
        assert len(actions) == 1


@many
@given(worlds())
def test_the_next_look_is_in_the_future_or_follows_a_verdict(world: World) -> None:
    thought = plan(world, NOW)
    if thought.wake_at is not None and thought.wake_at <= NOW:
        assert thought.actions, "a plan that does nothing and looks again at once would spin"


@many
@given(worlds())
def test_only_proof_promotes_and_only_with_a_fallback_is_anything_rejected(world: World) -> None:
    for action in plan(world, NOW).actions:
        if isinstance(action, Promote):
            good = [i for i in world.available(NOW) if i.report is not None and not i.report.mixed]
            assert good
        if isinstance(action, Reject):
            assert world.fallback is not None


@many
@given(worlds())
def test_before_the_quiet_period_is_over_nobody_is_told_to_go_and_nothing_is_judged(world: World) -> None:
    if world.state.rollout is None or world.wanted_workers == 0:
        return
    tentative = replace(world.state, rollout=replace(world.state.rollout, state=RolloutState.TENTATIVE))
    leaving = {i.id for i in world.leaving()}
    for action in plan(replace(world, state=tentative), NOW).actions:
        assert isinstance(action, Start) or action.instance in leaving, f"{action}"
    canaries = world.staying(target=True)
    starts = [a for a in plan(replace(world, state=tentative), NOW).actions if isinstance(a, Start)]
    if not tentative.paused:
        assert sum(a.instance.generation == world.state.wanted for a in starts) <= (0 if canaries else 1)


@many
@given(worlds())
def test_only_what_failed_is_forgotten_and_the_same_world_gives_the_same_plan(world: World) -> None:
    thought = plan(world, NOW)
    states = {i.id: i.state for i in world.instances}
    assert all(states[a.instance] is InstanceState.FAILED for a in thought.actions if isinstance(a, Forget))
    shuffled = replace(world, instances=tuple(sorted(world.instances, key=lambda i: i.id)))
    assert plan(shuffled, NOW) == thought


def test_the_generator_reaches_every_verb() -> None:
    seen: set[str] = set()

    @settings(max_examples=2000, deadline=None, database=None, derandomize=True)
    @given(worlds())
    def collect(world: World) -> None:
        seen.update(action.verb for action in plan(world, NOW).actions)

    collect()
    assert seen >= {"start", "drain", "interrupt", "kill", "forget", "advance", "promote", "reject", "fail", "doubt"}
