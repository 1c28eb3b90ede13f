"""Rollouts that a pass begins by itself: which of them may begin now."""

from __future__ import annotations

from dataclasses import replace

from trapd.rollout import halves, intent
from trapd.rollout.intent import CopyOf, Situation
from trapd.rollout.world import World


def allowed(world: World, situation: Situation) -> World:
    """The world of a pool in which nothing stands in the way of one: no trigger makes something, and all can be written
    down."""
    left = intent.left_behind(situation)
    return replace(
        world,
        other_settings=left.why if isinstance(left, CopyOf) else "",
        sources=halves.sources(situation.state, situation.generations),
        reunites=halves.reunites(situation),
    )
