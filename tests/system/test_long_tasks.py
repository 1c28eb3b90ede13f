"""Acceptance: old workers with long tasks leave side by side, and new ones serve meanwhile. On the embedded backend.

How long it takes depends on the machine: benchmarks/long_tasks.py has the figures, tests/simulation/test_drains.py the
exact bound.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.long_tasks import upgrade_with_long_tasks
from tests.support.sample import Application

pytestmark = pytest.mark.timeout(120)
TASK = 6.0  # s


def test_a_rollout_takes_as_long_as_the_longest_task(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    broker = make_broker("redis", request)
    rolled = upgrade_with_long_tasks(broker, application, short_path, task=TASK, policy={"min_ready": "1s"})
    print(f"\n{rolled}")
    assert rolled.fewest_ready >= 4
    assert rolled.most_alive <= 4 + 1 + 8
    assert rolled.most_draining >= 3, "one after the other"
    assert not rolled.problems
