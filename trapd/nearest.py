"""Which known name somebody perhaps meant."""

from __future__ import annotations

from collections.abc import Collection


def nearest(word: str, known: Collection[str]) -> str:
    """The known name that is most like ``word``; empty if none is like it."""
    import difflib  # here, since hardly anybody needs it: it takes 0.01 s of each trapctl

    return next(iter(difflib.get_close_matches(word, known, 1)), "")
