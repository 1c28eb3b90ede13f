"""Where a rollout waits for a person, and why: each gate is passed when somebody promotes the rollout before it. That
of tasks also opens by itself, when no message of them is left (task_contracts.py)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trapd.model import Rollout
from trapd.rollout import task_changes
from trapd.rollout.trial import delay
from trapd.rollout.truth import unproven_because
from trapd.rollout.world import World
from trapd.spec import OnMissingTasks, Promotion


class Gate(StrEnum):
    TASKS = "tasks"  # the generation drops or alters tasks, and on_missing_tasks = "hold": before the canary
    PROMOTION = "promotion"  # the canary has proved the generation, and promote = "manual"


@dataclass(frozen=True, slots=True)
class Closed:
    """A gate before which a rollout waits. ``why``: a sentence without a full stop."""

    gate: Gate
    why: str


def closed(world: World, now: float) -> Closed | None:
    """Return the gate before which the rollout under way waits now; None if nothing but time or work is awaited."""
    rollout = world.rollout
    if rollout is None or world.proven or world.held or world.fallback is None:
        return None
    return _tasks(world, rollout) or (None if world.tentative else _promotion(world, rollout, now))


def before_canary(gate: Closed | None) -> bool:
    """Return whether no worker of the generation may serve before the gate is open."""
    return gate is not None and gate.gate is Gate.TASKS


def _tasks(world: World, rollout: Rollout) -> Closed | None:
    if world.spec.policy.on_missing_tasks is not OnMissingTasks.HOLD or Gate.TASKS in rollout.opened:
        return None
    if not rollout.tasks:
        return None
    return Closed(Gate.TASKS, f'on_missing_tasks = "hold", and {task_changes.sentence(rollout)}')


def _promotion(world: World, rollout: Rollout, now: float) -> Closed | None:
    if world.spec.policy.promote is not Promotion.MANUAL or Gate.PROMOTION in rollout.opened:
        return None
    if world.state.put_aside is not None:  # nobody installed a half; what is installed waits for it
        return None
    for canary in world.available(now):
        if not unproven_because(canary) and not delay(world, canary, now):
            return Closed(
                Gate.PROMOTION, f"{canary.id} was ready for {world.proof(canary):g} s and runs what it should"
            )
    return None
