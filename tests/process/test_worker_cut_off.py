"""Real workers that hear nothing of their broker any more, or whose start has nothing to do with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.black_hole import BlackHole
from tests.support.snapshots import NAPS
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import FailureKind, InstanceState
from trapd.spec import PoolSpec

pytestmark = client_warnings

WATCHDOG, START_TIMEOUT = 4.0, 10.0  # s; a busy machine takes 3 s to connect

HANGS = (
    NAPS
    + """
from celery import signals


@signals.{}.connect
def hang(**_):
    time.sleep(3600)
"""
)


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
async def test_a_busy_worker_whose_broker_falls_silent_is_left_alone(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """As with all packets dropped: redis-py then waits in the main loop, in a timer; py-amqp misses heartbeats."""
    broker = make_broker(kind, request)
    with BlackHole(broker.port) as hole:
        spec = PoolSpec("default", concurrency=2)
        lab = WorkerLab(
            short_path,
            broker.through(hole.port),
            celeryconfig="broker_heartbeat = 2\ntask_ignore_result = True\n",
            spec=spec,
            watchdog=WATCHDOG,
        )

        async with lab:
            pid = (await lab.start()).pid
            ledgers = [short_path / f"ledger{number}" for number in range(2)]
            for ledger in ledgers:
                await lab.send("nap", 2.5 * WATCHDOG, str(ledger))
            await asyncio.to_thread(wait, lambda: all(path.with_suffix(".started").exists() for path in ledgers))
            hole.swallow()
            await lab.until(lambda seen: seen[ONE].status.startswith("broker unreachable for"))
            await asyncio.to_thread(wait, lambda: all(path.exists() for path in ledgers))
            (seen,) = await lab.backend.observe()
            assert (seen.pid, seen.state) == (pid, InstanceState.READY), lab.told()
            hole.pass_on()
            await lab.until(lambda seen: seen[ONE].status.startswith("ready"))
            await lab.send("nap", 0, str(short_path / "after"))
            await asyncio.to_thread(wait, (short_path / "after").exists)


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
async def test_a_handler_of_worker_ready_that_hangs_is_no_lost_broker_and_has_a_deadline(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    files = {"naps/jobs.py": HANGS.format("worker_ready")}
    lab = WorkerLab(short_path, make_broker(kind, request), files=files, start_timeout=START_TIMEOUT)

    async with lab:
        await lab.backend.start(ONE)
        seen = await lab.until(lambda seen: seen[ONE].status.startswith("starting for"))
        assert " s, at jobs.py:" in seen[ONE].status
        failure = await lab.failure()
        assert failure.kind is FailureKind.TIMEOUT
        assert failure.summary.startswith("did not send READY within ")
        assert "; its last status: starting for " in failure.summary
        assert "jobs.py" in failure.detail
        assert "in hang" in failure.detail


async def test_a_worker_none_of_whose_processes_starts_is_not_ready(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    """Celery says that it is, and takes tasks: its first processes have no deadline (worker_proc_alive_timeout)."""
    files = {"naps/jobs.py": HANGS.format("worker_process_init")}
    lab = WorkerLab(short_path, make_broker("redis", request), files=files, start_timeout=START_TIMEOUT)

    async with lab:
        failure = await lab.fail()
        assert failure.kind is FailureKind.TIMEOUT
        assert failure.summary.endswith(" s, no process of its Celery pool has started yet")


@pytest.mark.parametrize("signal", ["worker_init", "celeryd_after_setup"])
async def test_a_handler_that_hangs_before_the_broker_is_asked_is_named_by_its_stack(
    short_path: Path, request: pytest.FixtureRequest, signal: str
) -> None:
    files = {"naps/jobs.py": HANGS.format(signal)}
    lab = WorkerLab(short_path, make_broker("embedded", request), files=files, start_timeout=2.0)

    async with lab:
        failure = await lab.fail()
        assert (failure.kind, failure.summary.rpartition(": ")[2]) == (FailureKind.TIMEOUT, "starting")
        assert "in hang" in failure.detail
