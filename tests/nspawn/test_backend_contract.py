"""The conformance suite of tests/contract/test_backend.py on a real systemd."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract import test_backend as suite
from tests.nspawn.conftest import Boot
from tests.support.machine import Machine
from tests.support.stages import WATCHDOG, Script, Stage
from tests.support.systemd_stage import SystemdStage, prepare, put_units

globals().update({name: test for name, test in vars(suite).items() if name.startswith("test_")})


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Shared with the machine."""
    path = Path(tempfile.mkdtemp(prefix="td"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def shared_machine(boot_for_module: Boot, folder: Path) -> Machine:
    machine = boot_for_module(options=prepare(folder))
    put_units(machine)
    return machine


@pytest.fixture
def staged(shared_machine: Machine, folder: Path) -> suite.Staged:
    @asynccontextmanager
    async def on_stage(**times: Any) -> AsyncIterator[Stage]:
        if times:
            put_units(shared_machine, **times)
        try:
            async with SystemdStage(shared_machine, folder, times.get("watchdog", WATCHDOG)) as stage:
                yield stage
        finally:
            if times:
                put_units(shared_machine)

    return on_stage


async def test_b13_time_in_which_we_stood_still_is_held_against_nobody(staged: suite.Staged) -> None:
    """Here PID 1 judges, and goes on meanwhile: who gives signs of life is left alone, whatever trapd does."""

    async with staged(start_timeout=1.5, watchdog=1.5, stop_time=1.5) as stage:
        await suite.start(stage, suite.ONE)
        await suite.start(stage, suite.TWO, script=Script(drain=None, prolong=1.5))
        await stage.backend.drain(suite.TWO)
        before = await stage.until(suite.draining(suite.TWO))
        await stage.stand_still(4.0)
        seen = await stage.settle()
        assert {id: (one.state, one.pid) for id, one in seen.items()} == {
            id: (one.state, one.pid) for id, one in before.items()
        }
        assert seen[suite.ONE].ailment is None
