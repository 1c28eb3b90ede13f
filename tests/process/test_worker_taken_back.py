"""Real workers that do not end as they were told to: by their broker, or by somebody's remote control."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import brokers
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import FailureKind, Instance, InstanceState

pytestmark = client_warnings


async def test_what_rabbitmq_takes_back_after_its_consumer_timeout_is_named(short_path: Path) -> None:
    """Plain Celery (5.7, RabbitMQ 3.10.8) does the same: it lets the task end, and exits with status 1."""
    (short_path / "rabbitmq").mkdir()
    timeouts = "{consumer_timeout, 1500}, {channel_tick_interval, 500}"
    try:
        with brokers.rabbitmq_server(short_path / "rabbitmq", timeouts) as (url, _):
            lab = WorkerLab(short_path / "lab", brokers.on_rabbitmq(url), celeryconfig="task_acks_late = True\n")

            async with lab:
                await lab.start()
                await lab.send("hold", str(short_path / "ledger"))
                seen = await lab.until(lambda seen: "because: " in seen[ONE].status)
                assert seen[ONE].state is InstanceState.DRAINING
                assert seen[ONE].status.startswith("draining, 1 active, because: RabbitMQ closed its channel (PREC")
                (short_path / "ledger.go").touch()
                failure = await lab.failure()
                assert failure.kind is FailureKind.BROKER
                assert failure.summary.endswith("not acknowledged within consumer_timeout = 1.5 s")
                assert "delivery acknowledgement on channel 1 timed out" in failure.detail
                again = await lab.start()
                assert again.failure == failure  # remembered: so a repetition can be told
    except brokers.MissingServerError as error:
        pytest.skip(str(error))


async def test_a_drained_worker_leaves_a_broker_that_does_not_answer_its_goodbye(short_path: Path) -> None:
    (short_path / "rabbitmq").mkdir()
    with brokers.rabbitmq_server(short_path / "rabbitmq") as (url, server):
        lab = WorkerLab(short_path / "lab", brokers.on_rabbitmq(url))

        async with lab:
            await lab.start()
            await lab.send("hold", str(short_path / "ledger"), ignore_result=True)
            await asyncio.to_thread(wait, (short_path / "ledger.started").exists)
            await lab.backend.drain(ONE)
            await asyncio.to_thread(wait, lambda: _consumers(lab) == 0)
            server.process.send_signal(signal.SIGSTOP)
            try:
                (short_path / "ledger.go").touch()
                await lab.until(lambda seen: ONE not in seen)
            finally:
                server.process.send_signal(signal.SIGCONT)


def _consumers(lab: WorkerLab) -> int:
    with lab.client.connection_for_read() as connection:
        return int(connection.default_channel.queue_declare(lab.broker.queue, passive=True).consumer_count)


async def test_a_worker_that_gives_its_broker_up_says_so(short_path: Path) -> None:
    (short_path / "redis").mkdir()
    with brokers.redis_server(short_path / "redis") as (url, server):
        config = "broker_connection_retry = False\n"
        lab = WorkerLab(short_path / "lab", brokers.on_redis(url, 0), celeryconfig=config)

        async with lab:
            await lab.start()
            server.process.kill()
            failure = await lab.failure()
            assert failure.kind is FailureKind.CRASH
            assert failure.summary.startswith("lost its broker: ConnectionError: ")
            await asyncio.to_thread(server.process.wait)


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
async def test_remote_commands_that_reached_a_worker_stand_until_they_are_taken_back(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    broker = make_broker(kind, request)
    lab = WorkerLab(short_path, broker)

    async def told(*commands: str) -> Instance:
        def heard(one: Instance) -> bool:
            return one.report is not None and tuple(r.command for r in one.report.remote) == commands

        return (await lab.until(lambda seen: heard(seen[ONE])))[ONE]

    async with lab:
        await lab.start()
        await lab.ask("ping")
        control = lab.client.control
        await asyncio.to_thread(control.rate_limit, "naps.jobs.nap", "10/m")
        limit = "rate_limit('naps.jobs.nap', '10/m')"
        await told(limit)
        await asyncio.to_thread(control.cancel_consumer, broker.queue)
        seen = await told(limit, f"cancel_consumer('{broker.queue}')")
        assert "by remote control: cancel_consumer(" in seen.status
        await asyncio.to_thread(control.rate_limit, "no.such.task", "1/s")  # refused, so nothing of it stands
        await asyncio.to_thread(control.add_consumer, broker.queue)
        await asyncio.to_thread(control.pool_grow, 1)
        await told(limit, "pool_grow(1)")
        await asyncio.to_thread(control.pool_shrink, 1)
        await told(limit)
        await asyncio.to_thread(control.revoke, ["one", "two"])
        revoked = "2 tasks revoked or terminated, the last by revoke('two')"
        assert (await told(limit, revoked)).status.startswith("ready, 0 active, 2 tasks revoked, by remote control: ")
        await lab.send("hold", str(short_path / "ledger"))
        await asyncio.to_thread(wait, (short_path / "ledger.started").exists)
        await asyncio.to_thread(control.shutdown)
        seen = (await lab.until(lambda seen: seen[ONE].state is InstanceState.DRAINING))[ONE]
        assert seen.status == "draining, 1 active, because: shutdown by remote control"
        (short_path / "ledger.go").touch()
        await lab.until(lambda seen: ONE not in seen)
        queue = [f"cancel_consumer('{broker.queue}')", f"add_consumer('{broker.queue}', 'direct')"]
        commands = [f"changed by remote control: {c}" for c in (limit, *queue, "pool_grow(1)", "pool_shrink(1)")]
        lines = [line.partition("trapd-worker: ")[2] for line in lab.told().splitlines() if "by remote" in line]
        assert lines == [*commands, f"by remote control: {revoked}", "shutdown by remote control"]
