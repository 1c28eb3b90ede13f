"""The conformance suite of tests/contract/test_backend.py on a real systemd."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.contract import test_backend as suite
from tests.nspawn.conftest import Boot
from tests.support.machine import Machine
from tests.support.stages import WATCHDOG, Stage
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
def play(shared_machine: Machine, folder: Path) -> suite.Play:
    """Runs a test's story on a fresh stage."""

    def on_stage(story: Callable[[Stage], Awaitable[None]], **times: float) -> None:
        async def run() -> None:
            async with SystemdStage(shared_machine, folder, times.get("watchdog", WATCHDOG)) as stage:
                await story(stage)

        if times:
            put_units(shared_machine, **times)
        asyncio.run(run())
        if times:
            put_units(shared_machine)

    return on_stage
