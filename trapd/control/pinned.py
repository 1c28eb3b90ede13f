"""Pins as documents, and in sentences: for whom, since when, until when."""

from __future__ import annotations

import time

from trapd.control import documents
from trapd.model import Pin
from trapd.rollout.intent import Cause, Nothing
from trapd.rollout.view import PoolView


def described_pin(held: Pin) -> documents.Pin:
    """A pin as a part of the status."""
    return {
        "actor": held.actor,
        "reason": held.reason,
        "generation": held.generation,
        "since": held.wall,
        "until": held.until_wall,
        "away": held.away_since is not None,
    }


def line(held: Pin) -> str:
    """For whom and for what code is held, since when, until when: a sentence without a full stop."""
    reason = f", for {held.reason}" if held.reason else ""
    away = "; its holder is not connected again yet" if held.away_since is not None else ""
    until = f"until {clock_time(held.until_wall)} at the latest"
    return f"{held.actor} pins generation {held.generation}{reason}, since {clock_time(held.wall)}, {until}{away}"


def awaited(view: PoolView) -> str:
    """That installed code waits for pins, and how to override them; empty if none does."""
    if not isinstance(view.installed, Nothing) or view.installed.cause is not Cause.PINNED:
        return ""
    holders = "; ".join(line(held) for held in view.state.pins)
    return f"what is installed is rolled out afterwards: {holders}; {_override(view)}"


def awaited_in_status(view: PoolView) -> str:
    """The same for the status, which has a line for each pin."""
    holders = ", ".join(dict.fromkeys(held.actor for held in view.state.pins))
    return f"the end of the pin of {holders}, to roll out what is installed; {_override(view)}" if awaited(view) else ""


def _override(view: PoolView) -> str:
    return f"trapctl rollout promote {view.spec.name} overrides the pin"


def clock_time(wall: float) -> str:
    """Seconds since the epoch as local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall))
