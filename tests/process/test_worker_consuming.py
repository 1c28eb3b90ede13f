"""Real workers that run and take no tasks: they say so, in the words that have trapd replace them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kombu import Queue

from tests.conftest import make_broker
from tests.support.black_hole import BlackHole
from tests.support.brokers import Broker
from tests.support.lost_consumers import LOSES
from tests.support.repetitions import rows
from tests.support.snapshots import NAPS
from tests.support.stages import PATIENCE, look
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import Ailment
from trapd.spec import PoolSpec

pytestmark = client_warnings

QUIET = 1.5  # s
JOBS = (
    NAPS
    + LOSES
    + f"""
import signal
from celery import signals
from trapd.worker import consuming

consuming.QUIET = {QUIET}


@signals.worker_process_init.connect
def may_stand(**_):
    # SIGURG lets it stand still until the next one; the kernel does not call that stopped.
    def stand(*_):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])
        signal.sigwait([signal.SIGURG])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGURG])

    signal.signal(signal.SIGURG, stand)
"""
)


PRIORITIES = """
from kombu import Queue
task_queues = [Queue({queue!r}, queue_arguments={{"x-max-priority": 9}})]
"""


def make(directory: Path, broker: Broker, celery_pool: str = "prefork", **options: object) -> WorkerLab:
    spec = PoolSpec("default", celery_pool=celery_pool, concurrency=2)
    files = {"naps/jobs.py": JOBS}
    return WorkerLab(directory, broker, spec=spec, files=files, **options)  # type: ignore[arg-type]


async def idle(lab: WorkerLab) -> str:
    """Until the worker is seen not to consume; its status."""
    return (await lab.until(lambda seen: seen[ONE].ailment is Ailment.IDLE))[ONE].status


LOST = rows(
    usual=[("rabbitmq with priorities", "prefork"), ("redis", "eventlet"), ("embedded", "threads")],
    more=[("rabbitmq", "gevent")],
)


@pytest.mark.parametrize(("kind", "celery_pool"), LOST)
async def test_a_consumer_that_is_lost_is_noticed_by_the_messages_that_wait(
    short_path: Path, request: pytest.FixtureRequest, kind: str, celery_pool: str
) -> None:
    broker, config = make_broker(kind.partition(" ")[0], request), ""
    if kind.endswith("priorities"):
        config = PRIORITIES.format(queue=broker.queue)
    lab = make(short_path, broker, celery_pool, celeryconfig=config)
    if config:
        lab.client.conf.task_queues = [Queue(broker.queue, queue_arguments={"x-max-priority": 9})]
    async with lab:
        await lab.start()
        await lab.call("nap", 0)
        lab.client.control.broadcast("lose")
        await asyncio.sleep(0.5)
        await lab.send("nap", 0, str(short_path / "nap"))
        status = await idle(lab)
        assert f"messages wait (1 in {broker.queue}), and none comes" in status, lab.told()


async def test_a_queue_that_is_cancelled_is_missed_until_it_is_consumed_again(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    lab = make(short_path, broker := make_broker("redis", request))
    async with lab:
        await lab.start()
        await lab.ask("ping")
        lab.client.control.cancel_consumer(broker.queue)
        status = await idle(lab)
        assert f"it does not take from queue {broker.queue}, 0 active, by remote control: cancel_consumer" in status
        lab.client.control.add_consumer(broker.queue)
        await lab.until(lambda seen: seen[ONE].ailment is None)
        await lab.call("nap", 0)


async def test_children_that_all_stand_still_are_noticed(short_path: Path, request: pytest.FixtureRequest) -> None:
    lab = make(short_path, make_broker("redis", request))
    async with lab:
        pid = (await lab.start()).pid
        await lab.call("nap", 0)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        await lab.send("hold", str(short_path / "held"))
        await asyncio.to_thread(wait, (short_path / "held.started").exists)
        [[[held]]] = [list(answer.values()) for answer in await lab.ask("active")]
        free = next(child for child in map(int, children) if child != held["worker_pid"])
        os.kill(free, signal.SIGURG)
        try:
            await lab.send("nap", 0, str(short_path / "stuck"))
            await asyncio.to_thread(wait, lambda: lab.told().count("received") == 3)
            (short_path / "held.go").touch()
            async with asyncio.timeout(PATIENCE):
                while "1 process of its pool did not begin the task" not in (await look(lab.backend))[ONE].status:
                    await lab.call("nap", 0)  # the other child works on
        finally:
            os.kill(free, signal.SIGURG)
        await asyncio.to_thread(wait, (short_path / "stuck").exists)
        await lab.until(lambda seen: seen[ONE].ailment is None)
        for child in map(int, children):
            os.kill(child, signal.SIGURG)
        try:
            await lab.send("nap", 0, str(short_path / "nap"))
            assert "its pool has free slots, and 1 task does not start" in await idle(lab)
        finally:
            for child in map(int, children):
                os.kill(child, signal.SIGURG)
        await lab.until(lambda seen: seen[ONE].ailment is None)
        await asyncio.to_thread(wait, (short_path / "nap").exists)


async def test_children_that_are_stopped_inside_tasks_are_noticed_and_go_on_when_it_drains(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    """They look like long tasks, and nobody but the worker itself lets them go on."""
    lab = make(short_path, make_broker("redis", request))
    held = [short_path / "one", short_path / "two"]
    async with lab:
        pid = (await lab.start()).pid
        for path in held:
            await lab.send("hold", str(path))
            await asyncio.to_thread(wait, path.with_name(f"{path.name}.started").exists)
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            os.kill(child, signal.SIGSTOP)
        assert "2 of 2 processes of its pool are stopped by a signal, 2 active" in await idle(lab)
        for path in held:
            path.with_name(f"{path.name}.go").touch()
        await lab.drain()
        assert [path.read_text() for path in held] == ["done\n"] * 2
        assert lab.told().count("SIGCONT, so that it can leave") == 2


AWAY = rows(
    usual=[("redis", BlackHole.vanish), ("rabbitmq", BlackHole.vanish)],
    more=[("redis", BlackHole.swallow), ("rabbitmq", BlackHole.swallow)],
)


@pytest.mark.parametrize(("kind", "goes"), AWAY)
async def test_a_worker_whose_broker_is_away_is_never_said_not_to_consume(
    short_path: Path, request: pytest.FixtureRequest, kind: str, goes: Callable[[BlackHole], None]
) -> None:
    """For several times what the judge waits for, and while a message waits: no worker is replaced for that."""
    broker = make_broker(kind, request)
    with BlackHole(broker.port) as hole:
        config = "worker_prefetch_multiplier = 1\nbroker_heartbeat = 2\n"
        lab = make(short_path, broker.through(hole.port), celeryconfig=config)
        lab.client.close()
        lab.client = broker.app()
        async with lab:
            pid = (await lab.start()).pid
            await lab.call("nap", 0)
            goes(hole)
            await lab.send("nap", 0, str(short_path / "waited"))
            began, told = time.monotonic(), set[str]()
            while time.monotonic() - began < 6 * QUIET:
                (seen,) = await lab.backend.observe()
                told.add(seen.status)
                assert seen.ailment is not Ailment.IDLE, told
                await asyncio.sleep(0.1)
            assert any(status.startswith("broker unreachable") for status in told), told
            hole.pass_on()
            await asyncio.to_thread(wait, (short_path / "waited").exists)
            (seen,) = await lab.backend.observe()
            assert seen.pid == pid


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
async def test_a_connection_that_is_half_dead_is_noticed(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """All packets of this connection are dropped, and the broker is well: others reach it."""
    broker = make_broker(kind, request)
    with BlackHole(broker.port) as hole:
        lab = make(short_path, broker.through(hole.port), celeryconfig="worker_prefetch_multiplier = 1\n")
        lab.client.close()
        lab.client = broker.app()
        async with lab:
            await lab.start()
            await lab.call("nap", 0)
            hole.swallow_present()
            for _ in range(5):
                await lab.send("nap", 0)
            words = "messages wait" if kind == "rabbitmq" else "its connection to the broker is dead"
            seen = await lab.until(lambda seen: words in seen[ONE].status)
            assert seen[ONE].ailment is Ailment.IDLE
