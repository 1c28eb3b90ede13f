"""Real workers that hang, or only seem to; and what becomes of them when trapd dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.processes import ended
from tests.support.repetitions import rows
from tests.support.snapshots import NAPS
from tests.support.stages import EmbeddedStage, look
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.backend.words import hangs_on
from trapd.model import FailureKind, InstanceState
from trapd.spec import PoolSpec

pytestmark = client_warnings

WATCHDOG, START_TIMEOUT = 5.0, 8.0  # s
ROOT = Path(__file__).parents[2]

BLOCK = (
    NAPS
    + """
from celery.worker.control import control_command


@control_command()
def block(state):
    time.sleep(3600)
"""
)


STOP_TIME = 4.0  # s
SPINS = (
    NAPS
    + f"""
import os
import signal
from celery import signals
from trapd.worker import health

health.DRAIN_BY = {STOP_TIME}


@signals.worker_ready.connect
def prepare(**_):
    signal.signal(signal.SIGURG, spin)


def spin(*_):
    while True:
        pass
"""
)
POOLS = rows(
    usual=[("redis", "prefork"), ("embedded", "threads")],
    more=[("embedded", "prefork"), ("redis", "gevent"), ("redis", "eventlet"), ("redis", "threads"), ("redis", "solo")],
)


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Broker:
    return make_broker("embedded", request)


@pytest.mark.parametrize("kind", ["embedded", "redis"])
async def test_a_main_loop_that_hangs_is_ended_and_located(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Pings come from the loop itself: on the embedded broker the loop has no timers, on Redis it has."""
    lab = WorkerLab(short_path, make_broker(kind, request), files={"naps/jobs.py": BLOCK}, watchdog=WATCHDOG)

    async with lab:
        await lab.start()
        await lab.ask("ping")
        await asyncio.to_thread(lab.client.control.broadcast, "block")
        failure = await lab.failure()
        assert failure.kind is FailureKind.WATCHDOG
        assert "main loop stalled" in failure.summary
        assert "jobs.py:" in failure.summary
        assert "in block" in failure.detail


@pytest.mark.parametrize("celery_pool", ["solo", "prefork"])
async def test_a_long_task_is_no_hang(short_path: Path, files: Broker, celery_pool: str) -> None:
    lab = WorkerLab(short_path, files, spec=PoolSpec("default", celery_pool=celery_pool), watchdog=WATCHDOG)

    async with lab:
        await lab.start()
        sent = await lab.send("nap", WATCHDOG + 1.5)
        assert await lab.result(sent)
        assert (await lab.settle())[ONE].state is InstanceState.READY


def make_spinning(directory: Path, broker: Broker, celery_pool: str) -> WorkerLab:
    spec = PoolSpec("default", celery_pool=celery_pool, concurrency=2 if celery_pool != "solo" else 1)
    files = {"naps/jobs.py": SPINS}
    return WorkerLab(directory, broker, spec=spec, files=files, watchdog=WATCHDOG, stop_time=STOP_TIME)


@pytest.mark.parametrize(("kind", "celery_pool"), POOLS)
async def test_a_long_task_in_a_drain_is_no_hang(
    short_path: Path, request: pytest.FixtureRequest, kind: str, celery_pool: str
) -> None:
    """Whatever Celery's pools do while the main process waits for their tasks."""
    lab = make_spinning(short_path, make_broker(kind, request), celery_pool)
    async with lab:
        await lab.start()
        await lab.send("nap", 3 * STOP_TIME, str(short_path / "nap"))
        await asyncio.to_thread(wait, (short_path / "nap.started").exists)
        await lab.backend.drain(ONE)
        told = set()
        while ONE in (seen := await look(lab.backend)):
            told.add(seen[ONE].status)
            await asyncio.sleep(0.2)
        assert (short_path / "nap").exists(), told
        assert not [status for status in told if "leav" in status]


@pytest.mark.parametrize(("kind", "celery_pool"), [("redis", "prefork"), ("embedded", "threads")])
async def test_an_endless_loop_in_the_main_process_is_noticed_while_a_task_runs_in_a_drain(
    short_path: Path, request: pytest.FixtureRequest, kind: str, celery_pool: str
) -> None:
    lab = make_spinning(short_path, make_broker(kind, request), celery_pool)
    async with lab:
        pid = (await lab.start()).pid
        assert pid is not None
        await lab.send("hold", str(short_path / "held"))
        await asyncio.to_thread(wait, (short_path / "held.started").exists)
        await lab.backend.drain(ONE)
        await asyncio.sleep(WATCHDOG)
        assert "leav" not in (await look(lab.backend))[ONE].status
        os.kill(pid, signal.SIGURG)
        began = time.monotonic()
        words = "draining, 1 active, but not leaving: main loop stalled for "
        await lab.until(lambda seen: seen[ONE].status.startswith(words))
        seen = await lab.until(lambda seen: ONE not in seen or seen[ONE].state is InstanceState.STOPPING)
        assert time.monotonic() - began < STOP_TIME + 5.0, "the second look, and a look of the worker's"
        assert ONE not in seen or seen[ONE].status == hangs_on(STOP_TIME)
        await lab.until(lambda seen: ONE not in seen)
        assert "in spin" in lab.told()


async def test_a_broker_that_goes_away_is_no_hang_and_work_goes_on_when_it_is_back(short_path: Path) -> None:
    with brokers.redis_server(short_path) as (url, server):
        lab = WorkerLab(short_path, brokers.on_redis(url, 0), watchdog=WATCHDOG)

        async with lab:
            pid = (await lab.start()).pid
            server.process.send_signal(signal.SIGKILL)
            seen = await lab.until(lambda seen: seen[ONE].status.startswith("broker unreachable"))
            assert seen[ONE].state is InstanceState.READY
            await asyncio.sleep(WATCHDOG)
            await asyncio.to_thread(server.process.wait)
            port = url.rpartition(":")[2]
            again = brokers.spawn("redis", ["redis-server", "--port", port, "--save", ""], short_path / "again.log")
            try:
                seen = await lab.until(lambda seen: seen[ONE].status.startswith("ready"))
                assert (seen[ONE].pid, seen[ONE].state) == (pid, InstanceState.READY)
                assert await lab.call("nap", 0) == pid
            finally:
                await asyncio.to_thread(again.stop)


async def test_a_worker_drains_in_peace_while_its_broker_is_away(short_path: Path) -> None:
    with brokers.redis_server(short_path) as (url, server):
        lab = WorkerLab(short_path, brokers.on_redis(url, 0))

        async with lab:
            await lab.start()
            await lab.send("hold", str(short_path / "ledger"))
            await asyncio.to_thread(wait, (short_path / "ledger.started").exists)
            server.process.send_signal(signal.SIGKILL)
            await lab.until(lambda seen: seen[ONE].status.startswith("broker unreachable"))
            asyncio.get_running_loop().call_later(1.0, (short_path / "ledger.go").touch)
            await lab.drain()
            assert "cannot tell" not in lab.told()  # with no broker there is nothing to give back


async def test_a_worker_that_has_not_reached_its_broker_yet_leaves_in_peace(short_path: Path) -> None:
    lab = WorkerLab(short_path, brokers.on_redis(f"redis://127.0.0.1:{brokers.free_port()}", 0))

    async with lab:
        await lab.backend.start(ONE)
        await lab.until(lambda seen: seen[ONE].status.startswith("broker unreachable"))
        await lab.drain()
        assert "cannot tell" not in lab.told()


async def test_a_broker_that_is_away_at_the_start_is_waited_for(short_path: Path) -> None:
    port = brokers.free_port()
    lab = WorkerLab(short_path, brokers.on_redis(f"redis://127.0.0.1:{port}", 0), start_timeout=START_TIMEOUT)

    async with lab:
        await lab.backend.start(ONE)
        seen = await lab.until(lambda seen: seen[ONE].status.startswith("broker unreachable"))
        assert seen[ONE].state is InstanceState.STARTING
        await asyncio.sleep(seen[ONE].since + START_TIMEOUT + 1.0 - lab.clock.now())
        server = brokers.spawn("redis", ["redis-server", "--port", str(port), "--save", ""], short_path / "redis.log")
        try:
            await lab.until(lambda seen: seen[ONE].state is InstanceState.READY)
            await lab.drain()
        finally:
            await asyncio.to_thread(server.stop)


PARENT = """
import asyncio, json, sys
from pathlib import Path
from tests.support.worker_lab import ONE, WorkerLab
from tests.support.brokers import Broker

directory, broker = Path(sys.argv[1]), Broker(**json.loads(sys.argv[2]))


async def main():
    lab = WorkerLab(directory, broker)
    async with lab:
        await lab.start()
        await lab.send("hold", str(directory / "ledger"))
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
"""


async def test_when_trapd_is_killed_its_workers_finish_what_they_run_and_leave(short_path: Path, files: Broker) -> None:
    facts = json.dumps(asdict(files))
    trapd = subprocess.Popen([sys.executable, "-c", PARENT, str(short_path), facts], cwd=ROOT, stdin=subprocess.PIPE)
    with trapd:
        wait((short_path / "ledger.started").exists)
        worker = int((short_path / "run/instances" / f"{ONE.name}.pid").read_text().split()[0])
        trapd.kill()
        trapd.wait()
    assert not ended(worker)
    (short_path / "ledger.go").touch()
    wait(lambda: ended(worker))
    assert (short_path / "ledger").read_text() == "done\n"

    async with EmbeddedStage(short_path) as stage:
        assert await stage.backend.observe() == ()
    # until a trapd has it in its history
    assert [path.name for path in (short_path / "run/instances").iterdir()] == [f"{ONE.name}.receipt"]


def test_a_worker_whose_trapd_died_before_it_could_ask_leaves_at_once(short_path: Path, files: Broker) -> None:
    argv, env = WorkerLab(short_path, files)._command(ONE)
    done = subprocess.run(argv, env={**env, "TRAPD_PARENT_PID": "1"}, timeout=20, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")
