"""How the end of a rollout is told."""

from __future__ import annotations

import io
from typing import cast

import pytest

from trapd.control import documents
from trapd.ctl.changes import outcome
from trapd.ctl.render import Screen


@pytest.mark.parametrize(
    ("serves", "words"),
    [
        (12, "generation 12 serves, as before\n"),
        (11, "generation 11 serves\n"),
        (13, "trapctl why"),
        (None, "trapctl why"),
    ],
)
def test_what_serves_after_a_rejection_is_what_is_wanted_and_not_what_was_wanted_before(
    serves: int | None, words: str
) -> None:
    stream = io.StringIO()
    rollout = {"id": 4, "pool": "default", "state": "rejected", "generation": 13, "previous": 12, "detail": ""}
    outcome(Screen(stream), cast(documents.Waited, {"rollout": rollout, "serves": serves}))
    assert stream.getvalue().startswith(words)
