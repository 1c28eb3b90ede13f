"""Which tests of this folder only ``make test-long`` runs."""

from __future__ import annotations

from tests.support.repetitions import LONG

_ONLY_LONG = [
    "test_more_wedges.py",
    "test_row_equality_postgresql.py",
    "test_upgrade_in_a_run.py",
    "test_whole_trap.py",
]
collect_ignore = [] if LONG else _ONLY_LONG
