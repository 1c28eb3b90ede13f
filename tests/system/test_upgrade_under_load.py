"""Acceptance: an upgrade under steady load loses nothing, runs nothing twice, and nobody notices.

What must be right is asserted to the letter. How fast it is depends on the machine: the figures are printed (-s), the
bounds here are several times what was measured, and benchmarks/upgrade_under_load.py holds the exact ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.sample import Application
from tests.support.upgrade import Setting, upgrade_under_load

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("kind", "acks_late", "concurrency"),
    [
        pytest.param("rabbitmq", False, 4, id="rabbitmq, early acknowledgement"),
        pytest.param("redis", True, 4, id="redis, late acknowledgement"),
        pytest.param("embedded", False, 2, id="embedded, half the load"),
    ],
)
def test_an_upgrade_under_load_is_one_recycle_that_loses_nothing(
    kind: str,
    acks_late: bool,
    concurrency: int,
    application: Application,
    short_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    setting = Setting(make_broker(kind, request), acks_late, concurrency=concurrency)
    upgrade = upgrade_under_load(setting, application, short_path)
    outcome = upgrade.outcome
    print(f"\n{kind}:\n{outcome}")

    assert outcome.lost == ()
    assert outcome.twice == ()
    assert outcome.mixed == ()
    assert outcome.answered == outcome.submitted
    assert outcome.workers == {"1.0": setting.workers, "2.0": setting.workers}
    assert upgrade.generations == 1

    assert outcome.rate_kept > 0.9
    assert outcome.during.longest_gap < 2
    assert outcome.first_new < 10
