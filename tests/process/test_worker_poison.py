"""A task that kills its processes is set aside in the parking queue, and a person frees it: on RabbitMQ."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.backend.accounts import WorkerAccounts
from trapd.errors import RefusedError
from trapd.model import SetAside
from trapd.spec import PoolSpec

pytestmark = client_warnings

JOBS = """

@app.task(acks_late=True, reject_on_worker_lost=True)
def kill(path, whom):
    with open(path, "a") as file:
        file.write("killed\\n")
    time.sleep(0.5)  # until the main process has noted the start: what it has not noted, it cannot count
    os.kill(os.getpid() if whom == "child" else os.getppid(), 9)
    time.sleep(60)
"""


def kills(path: Path) -> int:
    return path.read_text().count("killed") if path.exists() else 0


async def aside(lab: WorkerLab, number: int) -> list[SetAside]:
    """What the worker reports, once that are so many."""
    found: list[SetAside] = []

    def told(seen: Any) -> bool:
        report = seen[ONE].report if ONE in seen else None
        found[:] = report.aside if report is not None else ()
        return len(found) == number

    await lab.until(told)
    return found


@pytest.mark.parametrize("whom", ["child", "worker"])
async def test_a_task_that_kills_its_process_is_set_aside_and_freed(
    short_path: Path, request: pytest.FixtureRequest, whom: str
) -> None:
    spec = PoolSpec("default", concurrency=1, poison_after=2)
    lab = WorkerLab(short_path, make_broker("rabbitmq", request), spec=spec)
    jobs = lab.generations / "7/code/naps/jobs.py"
    jobs.write_text(f"import os\n{jobs.read_text()}{JOBS}")
    ledger = short_path / "ledger"

    async with lab:
        await lab.start()
        sent = await lab.send("kill", str(ledger), whom)
        if whom == "worker":
            await lab.failure()
            await lab.fail()
            await lab.start()
        (told,) = await aside(lab, 1)
        assert (told.task, told.id, told.kills, kills(ledger)) == ("naps.jobs.kill", sent.id, 2, 2)
        assert await lab.call("nap", 0)
        if whom == "worker":
            return
        report = (await lab.until(lambda seen: ONE in seen))[ONE].report
        assert report is not None
        assert [(one.task, one.id, one.how) for one in report.lost] == [(told.task, sent.id, "signal 9 (SIGKILL)")] * 2
        accounts, pid = WorkerAccounts(lab.runtime), (await lab.until(lambda seen: ONE in seen))[ONE].pid
        assert pid is not None
        with pytest.raises(RefusedError, match="no task of this id is set aside"):
            await accounts.poison(ONE.name, pid, "another", "retry")
        await accounts.poison(ONE.name, pid, sent.id, "retry")
        await asyncio.to_thread(wait, lambda: kills(ledger) == 4)
