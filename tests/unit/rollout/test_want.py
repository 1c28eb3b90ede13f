"""What a pool wants: the words for what is new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from trapd.content import Content
from trapd.model import Disk, DiskState, Generation, PoolState
from trapd.rollout import want
from trapd.rollout.actions import Reject
from trapd.spec import OnFailure

BEFORE = {"trap": "1.3.0", "casacore": "3.5"}


@pytest.mark.parametrize(
    ("old", "installed", "words"),
    [
        (None, {"trap": "1.3.0"}, "first start: trap 1.3.0"),
        (BEFORE, BEFORE | {"trap": "1.4.0"}, "trap 1.3.0 -> 1.4.0"),
        (BEFORE, BEFORE | {"astropy": "6.0"}, "astropy absent -> 6.0"),
        (BEFORE, BEFORE, "the installed code, the celeryconfig or the interpreter changed"),
    ],
    ids=["nothing before", "another version", "one more distribution", "the same versions"],
)
def test_what_was_installed_is_told_by_versions_where_they_changed(
    old: Mapping[str, str] | None, installed: Mapping[str, str], words: str
) -> None:
    before = None if old is None else Generation(1, "f", old, {}, "", "watch", 0.0)
    assert want.news(before, Disk(DiskState.SETTLED, versions=installed)) == words


def test_a_refusal_tells_since_when() -> None:
    """For `trapctl status`: for how long installed code does not run."""
    old, new = (Generation(n, f"f{n}", {}, {}, "", "watch", 0.0) for n in (1, 2))
    known = {1: old, 2: new}
    state = PoolState("p", wanted=2, good=(1,))
    rejected = want.decide(state, Reject(2, "it raised"), known, OnFailure.REVERT, 77.0)
    assert [(refusal.why, refusal.wall) for refusal in rejected.refused] == [("it raised", 77.0)]
    undone = want.undone(state, new, old, known, "undone by ann", 78.0)
    assert [(refusal.why, refusal.wall) for refusal in undone.refused] == [("undone by ann", 78.0)]


def test_a_refusal_names_the_library_that_changed_with_the_code_or_alone() -> None:
    """A library that raises at its import: its name is in a traceback otherwise, and trap's in the sentence."""
    table = {"trap": Content("1.3.0", "aa"), "numpy": Content("1.26.4", "bb"), "ipython": Content("8.0", "cc")}
    other = {**table, "numpy": Content("2.0.1", "dd"), "ipython": Content("9.0", "ee")}
    old = Generation(1, "f1", {"trap": "1.3.0"}, {}, "", "watch", 0.0, distributions=table, required=("numpy", "trap"))
    new = replace(old, number=2, fingerprint="f2", distributions=other)
    state = PoolState("p", wanted=2, good=(1,))
    rejected = want.decide(state, Reject(2, "it raised"), {1: old, 2: new}, OnFailure.REVERT, 77.0)
    assert [refusal.why for refusal in rejected.refused] == ["with numpy 1.26.4 -> 2.0.1, it raised"]
    itself = replace(new, distributions={**table, "trap": Content("1.4.0", "ff")})
    rejected = want.decide(state, Reject(2, "it raised"), {1: old, 2: itself}, OnFailure.REVERT, 77.0)
    assert [refusal.why for refusal in rejected.refused] == ["it raised"]
