"""How the slow tests are shared out among several processes of pytest."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[2]


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no annotations
    """Each test by itself, but the tests of a module that share something slow, a machine for instance, in one process.

    xdist's own groups are names that it appends to the tests' ids, which pytest 9 does not let it do.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _shares(file) else nodeid


@cache
def _shares(file: str) -> bool:
    """By a fixture of the module's scope, or by the mark ``together``."""
    text = (ROOT / file).read_text("utf-8")
    return 'scope="module"' in text or "pytest.mark.together" in text
