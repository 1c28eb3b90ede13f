"""Which code answered: what the workers have now."""

from __future__ import annotations

from trapd.distribute.codes import Code, Codes


def test_what_workers_have_is_told_by_fresh_answers_alone() -> None:
    """A kept answer may be taken after a fresh one: Trap asks in threads."""
    old, new = Code.of({"trap": "1.3.0"}, "0ld"), Code.of({"trap": "1.4.0"}, "new")
    codes = Codes("redo", own=new)
    codes.take("c", new, fresh=True)
    codes.take("a", old, fresh=False)
    assert codes.latest == new
