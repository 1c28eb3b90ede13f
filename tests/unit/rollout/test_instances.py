"""The grid: every cell decided, every cell visited, and the picture in docs/states.md made from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.builders import NOW, one, spec
from trapd.model import InstanceState
from trapd.rollout.instances import GRID, Desire, step

DOC = Path(__file__).parents[3] / "docs" / "states.md"
VERB = {"start after backoff": "start", "drain": "drain", "kill": "kill", "forget": "forget"}


def picture() -> str:
    head = "| desired \\ observed | " + " | ".join(InstanceState) + " |"
    rows = [f"| **{d}** | " + " | ".join(GRID[d, s] for s in InstanceState) + " |" for d in Desire]
    return "\n".join([head, "|---" * (len(InstanceState) + 1) + "|", *rows])


def test_the_grid_is_full() -> None:
    assert set(GRID) == {(d, s) for d in Desire for s in InstanceState}


@pytest.mark.parametrize("desire", Desire)
@pytest.mark.parametrize("state", InstanceState)
def test_every_cell_does_what_it_says(desire: Desire, state: InstanceState) -> None:
    action, wake_at = step(desire, one("1-1", state, ago=100), spec().policy, NOW, "because")
    assert (action.verb if action else None) == VERB.get(GRID[desire, state])
    assert wake_at is None
    assert action is None or action.why == "because"


def test_a_restart_waits_for_its_backoff() -> None:
    action, wake_at = step(Desire.RUN, one("1-1", "failed", ago=0.1), spec().policy, NOW, "")
    assert action is None
    assert wake_at is not None
    assert NOW < wake_at < NOW + 1.5


def test_the_document_shows_the_grid_that_runs() -> None:
    shown = re.search(r"\| desired.*?\n\n", DOC.read_text() + "\n\n", re.DOTALL)
    assert shown
    assert shown[0].strip() == picture(), f"docs/states.md is out of date; it should have:\n{picture()}"
