"""Where a rollout waits for a person, and why: each gate is passed when somebody promotes the rollout before it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trapd.model import Rollout
from trapd.rollout.trial import delay
from trapd.rollout.truth import unproven_because
from trapd.rollout.world import World
from trapd.spec import Promotion


class Gate(StrEnum):
    PROMOTION = "promotion"  # the canary has proved the generation, and promote = "manual"


@dataclass(frozen=True, slots=True)
class Closed:
    """A gate before which a rollout waits. ``why``: a sentence without a full stop."""

    gate: Gate
    why: str


def closed(world: World, now: float) -> Closed | None:
    """Return the gate before which the rollout under way waits now; None if nothing but time or work is awaited."""
    rollout = world.rollout
    if rollout is None or world.proven or world.held or world.tentative or world.fallback is None:
        return None
    return _promotion(world, rollout, now)


def _promotion(world: World, rollout: Rollout, now: float) -> Closed | None:
    if world.spec.policy.promote is not Promotion.MANUAL or Gate.PROMOTION in rollout.opened:
        return None
    for canary in world.available(now):
        if not unproven_because(canary) and not delay(world, canary, now):
            return Closed(
                Gate.PROMOTION, f"{canary.id} was ready for {world.proof(canary):g} s and runs what it should"
            )
    return None
