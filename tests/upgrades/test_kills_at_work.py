"""A pip that is killed at any moment, under workers."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.repetitions import times
from tests.upgrades.proofs import begin, comes_back, exchanged, nothing_lost, serving
from tests.upgrades.rows import Outcome, Row, Wait, each
from tests.upgrades.ship import Ship
from tests.upgrades.stage import PATIENCE, Shared, at_rest

pytestmark = [pytest.mark.together, pytest.mark.long, pytest.mark.timeout(times(600, 7200))]

COUNTS = 8, 150


def pip_install(stage: Ship, version: str) -> None:
    stage.kill_pip(version, random.Random(seed := random.randrange(2**32)))
    print(f"seed {seed}")


ROWS = [
    Row(
        f"`pip install` of the application and its library, killed at any moment, {COUNTS[0]} times under workers "
        f"(on demand {COUNTS[1]})",
        pip_install,
        Outcome.KEPT,
        Wait.NOTHING,
        reason="",
    )
]


@each(ROWS)
def test_kills_at_work(ship: Shared, row: Row, record_property: Callable[[str, object], None]) -> None:
    """Each time pip either left something that is whole, which serves then, or nothing of it is rolled out."""
    count = times(*COUNTS)
    record_property("times", count)
    left: Counter[str] = Counter()
    with ship.borrow() as stage:
        assert isinstance(stage, Ship)
        for _ in range(count):
            left[kill(stage, row)] += 1
    print(dict(left))


def kill(stage: Ship, row: Row) -> str:
    """Kill one pip, and see what comes of what it left. Returns how that was."""
    begun, old, new = begin(stage), stage.version, stage.next_version()
    with stage.tasks() as tasks:
        row.act(stage, new)
        flaw, reason = stage.flaw(), judged(stage)
        print(flaw or "whole", reason, sep="\n")
        if reason:
            answer = stage.daemon.ctl("status")
            assert answer.returncode == 1
            assert reason in answer.stdout
    if not reason:
        assert not flaw, "it was rolled out"
        stage.version, stage.generation = stage.installed(), serving(stage)
        nothing_lost(tasks, {old, stage.version})
        return "whole"
    nothing_lost(tasks, {old})
    comes_back(stage)
    assert "wanted" not in {event["kind"] for event in stage.events(after=begun)}, flaw
    exchanged(stage, Row("the repair", Ship.repair))
    return "incomplete" if flaw else "unfinished"


def judged(stage: Ship) -> str:
    """Why what is installed is broken; empty once it serves."""
    deadline = time.monotonic() + PATIENCE
    while stage.daemon.ctl("rollout", "status", "--timeout", "3s").returncode:
        status = stage.status()
        assert status is not None
        if status["disk"]["state"] == "broken":
            return status["disk"]["reason"]
        assert time.monotonic() < deadline, "neither broken nor serving"
    stage.wait_until("the end of the rollout", at_rest)
    return ""
