"""Scheduled tasks on quorum queues, whose prefetch cannot be raised."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_worker_parking import place
from tests.support.worker_lab import client_warnings, wait
from trapd.worker import returns

pytestmark = client_warnings


async def test_scheduled_and_unknown_tasks_keep_nobody_from_working_with_prefetch_1(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    """Plain Celery stands still here until the first of them has its time."""
    here = place(short_path, request, "quorum")
    lab, ledger = here.lab, short_path / "scheduled"

    async with lab:
        await lab.start()
        began = time.monotonic()
        scheduled = [await lab.send("nap", 0, str(ledger), countdown=10) for _ in range(4)]
        await lab.send("new", str(short_path / "new"))
        for _ in range(10):
            assert await lab.call("nap", 0)
        assert time.monotonic() - began < 10
        assert not ledger.exists()
        assert lab.told().count("received") == 14
        await here.parks(1)
        for result in scheduled:
            await lab.result(result)
        assert await lab.call("nap", 0)
        assert ledger.read_text() == "done\n" * 4


async def test_a_scheduled_task_that_was_returned_some_times_is_given_back_as_one_that_never_was(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each return costs one of the deliveries that a quorum queue grants: a task for next week lives through 20."""
    here = place(short_path, request, "quorum", limit=returns.OFTEN + 1)
    lab = here.lab

    def get() -> Any:
        with lab.client.connection_for_read() as connection:
            found: list[Any] = []

            def there() -> bool:
                found.append(here.queue(connection.channel()).get())
                return found[-1] is not None

            wait(there)
            found[-1].reject(requeue=True)
            return found[-1]

    async with lab:
        sent = await lab.send("nap", 0, str(short_path / "scheduled"), countdown=60)
        for count in range(returns.OFTEN):
            assert (await asyncio.to_thread(get)).headers.get(returns.COUNT, 0) == count
        await lab.start()
        await asyncio.to_thread(wait, lambda: "received" in lab.told())
        await lab.drain()
        message = await asyncio.to_thread(get)
        assert (message.headers["id"], message.headers.get(returns.COUNT, 0)) == (sent.id, 0)
