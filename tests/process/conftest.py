"""Which tests of this folder only ``make test-long`` runs."""

from __future__ import annotations

from tests.support.repetitions import LONG

collect_ignore = [] if LONG else ["test_numba_cache_at_once.py", "test_real_editables.py", "test_results_kept.py"]
