"""Real workers that get no tasks although messages wait, and all is well: nothing is held against them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kombu import Queue

from tests.conftest import make_broker
from tests.process.test_worker_consuming import JOBS, QUIET
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import InstanceId
from trapd.spec import PoolSpec

pytestmark = client_warnings

TWO = InstanceId("default", 7, 2)
ALONE = """
from kombu import Queue
task_queues = [Queue({queue!r}, queue_arguments={{"x-single-active-consumer": True}})]
worker_prefetch_multiplier = 1
"""
# Celery consumes a stream only without its global QoS, which it gives up where it has a quorum queue too.
STREAM = """
from kombu import Queue
task_queues = [
    Queue({queue!r}, queue_arguments={{"x-queue-type": "stream"}}),
    Queue({queue!r} + "-quorum", queue_arguments={{"x-queue-type": "quorum"}}),
]
worker_prefetch_multiplier = 1
"""
LIMITED = """

@app.task(rate_limit="1/h")
def limited():
    pass
"""


async def test_the_passive_consumer_of_a_queue_with_a_single_active_one(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    broker = make_broker("rabbitmq", request)
    lab = WorkerLab(
        short_path,
        broker,
        spec=PoolSpec("default", concurrency=1),
        files={"naps/jobs.py": JOBS},
        celeryconfig=ALONE.format(queue=broker.queue),
    )
    lab.client.conf.task_queues = [Queue(broker.queue, queue_arguments={"x-single-active-consumer": True})]
    async with lab:
        await lab.start()
        await lab.start(TWO)
        for number in range(4):
            await lab.send("hold", str(short_path / f"held{number}"))
        await asyncio.to_thread(wait, (short_path / "held0.started").exists)
        await asyncio.sleep(5 * QUIET)
        seen = {instance.id: instance for instance in await lab.backend.observe()}
        assert (seen[TWO].ailment, seen[TWO].active_tasks) == (None, 0)
        for number in range(4):
            (short_path / f"held{number}.go").touch()


async def test_a_stream_that_keeps_what_was_read(short_path: Path, request: pytest.FixtureRequest) -> None:
    """RabbitMQ counts its messages, read or not, and no consumer of it."""
    broker = make_broker("rabbitmq", request)
    config = STREAM.format(queue=broker.queue)
    lab = WorkerLab(short_path, broker, files={"naps/jobs.py": JOBS}, celeryconfig=config)
    lab.client.conf.task_queues = [Queue(broker.queue, queue_arguments={"x-queue-type": "stream"})]
    async with lab:
        await lab.start()
        await lab.call("nap", 0)
        with lab.client.connection_for_write() as connection:
            channel = connection.channel()  # its number is 5 s old
            await asyncio.to_thread(wait, lambda: channel.queue_declare(broker.queue, passive=True).message_count == 1)
        await asyncio.sleep(4 * QUIET)
        (seen,) = await lab.backend.observe()
        assert (seen.id, seen.ailment) == (ONE, None)


async def test_a_worker_whose_prefetch_is_full_of_tasks_that_a_rate_limit_holds_back(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    lab = WorkerLab(
        short_path,
        make_broker("redis", request),
        spec=PoolSpec("default", concurrency=2, prefetch_multiplier=2),
        files={"naps/jobs.py": JOBS + LIMITED},
    )
    async with lab:
        await lab.start()
        for _ in range(10):
            await lab.send("limited")
        await asyncio.sleep(5 * QUIET)
        (seen,) = await lab.backend.observe()
        assert (seen.id, seen.ailment) == (ONE, None)
