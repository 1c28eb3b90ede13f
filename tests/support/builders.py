"""Short words for the nouns, so that a test's table shows only what matters in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trapd.model import (
    CodeReport,
    Failure,
    FailureKind,
    Instance,
    InstanceId,
    InstanceState,
    PoolState,
    Rollout,
    RolloutState,
)
from trapd.rollout.world import World
from trapd.spec import Amount, Application, OnFailure, Policy, PoolSpec

NOW = 1000.0


def spec(
    workers: int = 2,
    *,
    surge: int = 1,
    unavailable: int = 0,
    draining: int | None = None,
    drain_timeout: float | None = None,
    hold: bool = False,
    singleton: bool = False,
) -> PoolSpec:
    policy = Policy(
        max_surge=Amount(surge),
        max_unavailable=Amount(unavailable),
        max_draining=None if draining is None else Amount(draining),
        min_ready=5.0,
        progress_deadline=600.0,
        drain_timeout=drain_timeout,
        on_failure=OnFailure.HOLD if hold else OnFailure.REVERT,
    )
    return PoolSpec("p", workers=workers, singleton=singleton, policy=policy)


def rollout(generation: int, state: RolloutState = RolloutState.PENDING, progressed_at: float = NOW) -> Rollout:
    return Rollout(1, "p", generation, None, state, "pkg 1.0 -> 2.0", "watch", 0.0, progressed_at)


def wanting(
    generation: int | None, *good: int, phase: RolloutState | None = RolloutState.PENDING, **more: object
) -> PoolState:
    under_way = rollout(generation, phase) if generation is not None and phase is not None else None
    return PoolState("p", wanted=generation, good=good, rollout=under_way, **more)  # type: ignore[arg-type]


def one(name: str, what: str = "ready", *, ago: float = 100.0, **more: object) -> Instance:
    """``one("2-1", "failed", ago=3)``: instance p@2-1, failed 3 s ago."""
    id = InstanceId.parse(f"p@{name}")
    state, since = InstanceState(what), NOW - ago
    fields: dict[str, object] = {}
    if state is InstanceState.READY:
        fields |= {"ready_at": since, "alive_at": NOW, "report": CodeReport(id.generation, "d", {}), "active_tasks": 0}
    if state is InstanceState.FAILED:
        fields |= {"failures": 1, "failure": failure(ago)}
    return Instance(id, state, since, **(fields | more))  # type: ignore[arg-type]


def failure(ago: float, kind: FailureKind = FailureKind.CODE, *, was_ready: bool = False) -> Failure:
    return Failure(kind, "ImportError: no", "Traceback ...", NOW - ago, was_ready)


def world(pool: PoolSpec, state: PoolState, *instances: Instance, **more: object) -> World:
    generations = {i.id.generation for i in instances} | set(state.good) | {state.wanted or 0}
    fields: Mapping[str, object] = {"usable": frozenset(generations), **more}
    return World(pool, state, instances, **fields)  # type: ignore[arg-type]


def application(
    app: str = "trap.app:app", *, python: Path | str = "/venv/bin/python", smoke_test: str | None = None
) -> Application:
    return Application(app, "/etc/trapd/celeryconfig.py", str(python), smoke_test)
