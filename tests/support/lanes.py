"""How the slow tests are shared out among several processes of pytest.

What takes longest begins first, so that no long test is left alone at the end. How long each takes, in round figures,
stands in ``seconds.json``, which pytest writes with ``--seconds tests/support/seconds.json``.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

ROOT = Path(__file__).parents[2]
SECONDS = Path(__file__).with_name("seconds.json")
WORTH_NOTING = 10  # s; what takes less is no matter where it stands


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no annotations
    """Each test by itself, but the tests of a module that share something slow, a machine for instance, in one process.

    xdist's own groups are names that it appends to the tests' ids, which pytest 9 does not let it do.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False  # by the number of tests, so that a single long one is the last
        super().__init__(config, log)
        self._took: dict[str, float] = {}

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        """As xdist, which lets two tests wait for a process while others may have nothing to do. One has to: a process
        begins a test when it knows the next."""
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        name = scope(self.registered_collections[node][item_index])
        self._took[name] = self._took.get(name, 0.0) + duration
        super().mark_test_complete(node, item_index, duration)

    def write(self, path: Path) -> None:
        """What took how long this time."""
        took = {
            name: round(seconds / 10) * 10
            for name, seconds in sorted(self._took.items(), key=lambda one: -one[1])
            if seconds >= WORTH_NOTING
        }
        path.write_text(json.dumps(took, indent=0) + "\n")


def scope(nodeid: str) -> str:
    """What one process runs without a break: a test, or a module."""
    file = nodeid.partition("::")[0]
    return _shared(file) or nodeid


def usual_seconds(nodeid: str) -> int:
    """What the test, or its module, takes; 0 where that is little, or nobody knows."""
    return measured().get(scope(nodeid), 0)


@cache
def measured() -> dict[str, int]:
    found: dict[str, int] = json.loads(SECONDS.read_text())
    return found


@cache
def _shared(file: str) -> str:
    """By a fixture of the module's scope, or by the mark ``together``; empty if its tests share nothing. A module that
    shares with another one names it: ``TOGETHER_WITH = "tests/system/test_make_run.py"``."""
    text = (ROOT / file).read_text("utf-8")
    if other := re.search(r'^TOGETHER_WITH = "([^"]+)"', text, re.MULTILINE):
        return other[1]
    return file if 'scope="module"' in text or "pytest.mark.together" in text else ""
