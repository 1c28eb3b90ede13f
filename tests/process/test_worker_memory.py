"""A real worker whose main process has more memory than its pool allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.worker_lab import ONE, WorkerLab, client_warnings
from trapd.model import Ailment
from trapd.rollout.truth import serves
from trapd.spec import PoolSpec

pytestmark = client_warnings


async def test_a_worker_that_has_outgrown_its_memory_says_so_and_serves(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    lab = WorkerLab(short_path, make_broker("embedded", request), spec=PoolSpec("default", max_memory=1 << 20))
    async with lab:
        await lab.start()
        seen = await lab.until(lambda seen: seen[ONE].ailment is Ailment.OUTGROWN)
        assert serves(seen[ONE])
        assert seen[ONE].status.endswith(" MiB, more than max_memory = 1 MiB")
        await lab.call("nap", 0)
