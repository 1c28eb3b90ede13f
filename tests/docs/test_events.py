"""docs/events.md lists the kinds of event that there are."""

from __future__ import annotations

from docs import events as written
from trapd.event import About, EventKind


def test_the_page_is_as_it_would_be_written_now() -> None:
    """Write it anew with: python -m docs.events"""
    assert written.FILE.read_text() == written.page()


def test_every_kind_is_explained_in_one_line_of_its_own() -> None:
    assert set(written.TITLES) == set(About)
    meanings = [kind.meaning for kind in EventKind]
    assert all(meanings)
    assert len(set(meanings)) == len(meanings)
    assert not [meaning for meaning in meanings if "\n" in meaning or len(meaning) > 90]
