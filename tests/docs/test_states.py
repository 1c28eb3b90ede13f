"""docs/states.md shows the grid and the phases that run."""

from __future__ import annotations

from docs import states as written
from trapd.event import About, EventKind
from trapd.model import RolloutState
from trapd.rollout.phases import AFTER, MEANS, USUAL


def test_the_page_is_as_it_would_be_written_now() -> None:
    """Write it anew with: python -m docs.states"""
    assert written.FILE.read_text() == written.page()


def test_every_phase_has_a_meaning_and_a_place_in_the_picture() -> None:
    assert set(MEANS) == set(AFTER) == set(RolloutState)
    reached = {phase for after in AFTER.values() for phase in after}
    assert reached == set(RolloutState) - {RolloutState.TENTATIVE}, "a rollout only begins so"
    assert all(AFTER[phase] for phase in RolloutState if not phase.over)
    assert all(b in AFTER[a] for a, b in USUAL)
    assert {phase for step in USUAL for phase in step} == set(RolloutState)


def test_every_phase_under_way_is_a_kind_of_event() -> None:
    phases = {kind for kind in EventKind if kind.about is About.ROLLOUT and kind.meaning.startswith("phase: ")}
    assert phases == {phase.value for phase in RolloutState if not phase.over}
