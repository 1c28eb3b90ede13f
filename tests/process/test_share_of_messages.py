"""Which of two workers takes a message: the judge of tasks relies on chance for each single message.

A worker that refilled its prefetch in blocks would have runs of 16 messages of one queue. See
docs/adr/0033-judged-by-its-tasks.md.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.snapshots import NAPS
from tests.support.worker_lab import WorkerLab, client_warnings, wait
from trapd.backend.accounts import WorkerAccounts
from trapd.model import InstanceId
from trapd.spec import PoolSpec

pytestmark = client_warnings

TWO = InstanceId("default", 7, 2)
MESSAGES, HELD = 200, 20  # HELD: 16 reserved and 4 that run, of each worker at first
TASK = """

import random


@app.task
def note(number, path):
    time.sleep(random.uniform(0.01, 0.03))
    with open(path, "a") as file:
        file.write(f"{number} {os.getppid()}\\n")
"""


async def alone(lab: WorkerLab, ledger: Path) -> None:
    """The second worker is asked to take no tasks (A13), and then takes them again."""
    pids = {instance.id: instance.pid for instance in await lab.backend.observe()}
    abstainer, accounts = pids[TWO], WorkerAccounts(lab.runtime)
    assert abstainer is not None

    async def takers(count: int, *, abstain: bool) -> set[str]:
        async with asyncio.timeout(30):
            while bool((await accounts.work(TWO.name, abstainer, {}, abstain=abstain)).queues) is abstain:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        before = len(ledger.read_text().splitlines())
        for number in range(count):
            lab.client.send_task("naps.jobs.note", (number, str(ledger)))
        async with asyncio.timeout(60):
            while len(lines := ledger.read_text().splitlines()) < before + count:
                await accounts.work(TWO.name, abstainer, {}, abstain=abstain)  # it lasts 5 s
                await asyncio.sleep(0.1)
        return {line.split()[1] for line in lines[before:]}

    assert str(abstainer) not in await takers(40, abstain=True)
    assert str(abstainer) in await takers(100, abstain=False)


@pytest.mark.parametrize("kind", ["rabbitmq", "redis"])
async def test_a_worker_refills_its_prefetch_message_by_message_and_takes_none_while_it_abstains(
    kind: str,
    short_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    lab = WorkerLab(
        short_path,
        make_broker(kind, request),
        spec=PoolSpec("default", concurrency=4, prefetch_multiplier=4),
        files={"naps/jobs.py": NAPS + TASK},
    )
    ledger = short_path / "ledger"
    async with lab:
        await lab.start()
        await lab.start(TWO)
        for number in range(MESSAGES):
            lab.client.send_task("naps.jobs.note", (number, str(ledger)))
        await asyncio.to_thread(wait, lambda: ledger.exists() and ledger.read_text().count("\n") == MESSAGES)
        taken = dict(line.split() for line in ledger.read_text().splitlines())
        await alone(lab, ledger)
    order = [taken[str(number)] for number in range(2 * HELD, MESSAGES)]
    runs = [len(list(run)) for _, run in itertools.groupby(order)]
    record_property("runs", runs)
    print(f"{kind}: {len(runs)} runs of {len(order)}, mean {len(order) / len(runs):.2f}, longest {max(runs)}")
    assert len(set(order)) == 2
    assert len(order) / len(runs) < 4
