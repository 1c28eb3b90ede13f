"""Which snapshots may go."""

from __future__ import annotations

from collections.abc import Iterable

KEEP = 5  # the newest, so that there is always something to go back to


def removable(present: frozenset[int], needed: Iterable[int], keep: int = KEEP) -> frozenset[int]:
    """Those of ``present`` that are neither ``needed`` (running, wanted or good) nor among the newest ``keep``."""
    newest = sorted(present, reverse=True)[:keep]
    return present - frozenset(newest) - frozenset(needed)
