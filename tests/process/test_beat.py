"""A pool that runs Celery beat: never two at once, each task sent once, healthy as long as its loop turns."""

from __future__ import annotations

import asyncio
import itertools
import os
import shelve
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.daemon import Daemon, Status, Table, pool, settled_on
from tests.support.repetitions import rows
from tests.support.sample import APP, NAME, NAP, Application, good
from tests.support.snapshots import NAPS
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import FailureKind, InstanceId, InstanceState
from trapd.spec import PoolSpec

pytestmark = client_warnings

WATCHDOG = 3.0  # s
TWO = InstanceId("default", 7, 2)
BEAT = PoolSpec("default", run="beat")
EVERY_SECOND = "\nbeat_schedule = {'nap': {'task': 'naps.jobs.nap', 'schedule': 1.0, 'args': (0,)}}\n"
EVERY_DAY = EVERY_SECOND.replace("1.0", "86400.0")


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Broker:
    return make_broker("embedded", request)


async def test_a_second_beat_waits_until_the_first_has_left_however_it_was_started(
    short_path: Path, files: Broker
) -> None:
    lab = WorkerLab(short_path, files, celeryconfig=EVERY_SECOND, spec=BEAT)

    async with lab:
        one = await lab.start()
        assert (one.status, one.active_tasks) == ("ready, 0 active", 0)
        assert one.report is not None
        assert one.report.generation == 7
        await lab.backend.start(TWO)
        seen = await lab.until(lambda seen: seen[TWO].status == "waiting for the end of another beat")
        assert [seen[id].state for id in (ONE, TWO)] == [InstanceState.READY, InstanceState.STARTING]
        await lab.drain(ONE)
        await lab.until(lambda seen: seen[TWO].state is InstanceState.READY)
        await lab.backend.start(ONE)
        await lab.until(lambda seen: seen[ONE].status == "waiting for the end of another beat")
        await lab.drain(ONE)  # while it waits
        await lab.drain(TWO)
    assert (short_path / "workers/default").is_dir()


SCHEDULING = """
import time
from pathlib import Path
from celery.beat import Scheduler

class Mine(Scheduler):
    def tick(self, **options):
        while Path(self.app.conf.stuck).exists():
            time.sleep(3600)
        return super().tick(**options)
"""


async def test_a_loop_that_hangs_is_ended_and_located_whatever_the_scheduler(short_path: Path, files: Broker) -> None:
    stuck = short_path / "stuck"
    config = f"{EVERY_SECOND}beat_scheduler = 'naps.scheduling:Mine'\nstuck = {str(stuck)!r}\n"
    modules = {"naps/scheduling.py": SCHEDULING}
    lab = WorkerLab(short_path, files, files=modules, celeryconfig=config, spec=BEAT, watchdog=WATCHDOG)

    async with lab:
        await lab.start()
        stuck.touch()
        failure = await lab.failure()
        assert failure.kind is FailureKind.WATCHDOG
        assert "main loop stalled" in failure.summary
        assert "in tick" in failure.detail


SLOWLY = """
import time
from celery.signals import before_task_publish

@before_task_publish.connect
def slowly(**_):
    Path(app.conf.sending).touch()
    time.sleep(1.0)
"""


async def test_a_task_that_is_being_sent_when_beat_is_told_to_leave_is_sent(short_path: Path, files: Broker) -> None:
    """Celery's own handler of SIGTERM leaves in the middle: the schedule says that it was sent, and it was not."""
    sending = short_path / "sending"
    config = f"{EVERY_SECOND}sending = {str(sending)!r}\n"
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": NAPS + SLOWLY}, celeryconfig=config, spec=BEAT)

    async with lab:
        await lab.backend.start(ONE)
        await asyncio.to_thread(wait, sending.exists)
        await lab.drain()
    with shelve.open(str(short_path / "workers/default/celerybeat-schedule")) as kept:
        assert kept["entries"]["nap"].total_run_count == 1
    queue = Path(files.settings()["broker_transport_options"]["data_folder_in"])
    assert len([file for file in queue.iterdir() if file.name.endswith(f"{files.queue}.msg")]) == 1


async def test_a_scheduler_that_cannot_be_imported_is_the_codes_fault(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files, celeryconfig="\nbeat_scheduler = 'naps.absent:Mine'\n", spec=BEAT)

    async with lab:
        failure = await lab.fail()
        assert (failure.kind, failure.summary) == (
            FailureKind.CODE,
            "ModuleNotFoundError: No module named 'naps.absent'",
        )


async def test_a_broker_that_is_away_is_no_hang_and_a_beat_that_never_reached_it_is_not_ready(short_path: Path) -> None:
    with brokers.redis_server(short_path) as (url, server):
        broker = brokers.on_redis(url, 0)
        lab = WorkerLab(short_path, broker, celeryconfig=EVERY_SECOND, spec=BEAT, watchdog=WATCHDOG)

        async with lab:
            pid = (await lab.start()).pid
            server.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(server.process.wait)
            await lab.until(lambda seen: " unreachable for " in seen[ONE].status)
            await lab.backend.start(TWO)
            await asyncio.sleep(WATCHDOG * 1.5)
            seen = await lab.settle()
            assert (seen[ONE].state, seen[ONE].pid) == (InstanceState.READY, pid)
            await lab.drain(ONE)
            await lab.until(lambda seen: seen[TWO].status.startswith("broker unreachable"))
            assert (await lab.settle())[TWO].state is InstanceState.STARTING
            port = url.rpartition(":")[2]
            again = brokers.spawn("redis", ["redis-server", "--port", port, "--save", ""], short_path / "again.log")
            try:
                await lab.until(lambda seen: seen[TWO].state is InstanceState.READY)
                await lab.until(lambda seen: seen[TWO].status == "ready, 0 active")
                await lab.drain(TWO)
            finally:
                await asyncio.to_thread(again.stop)


async def test_a_beat_that_has_nothing_to_send_for_long_is_no_hang(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files, celeryconfig=EVERY_DAY, spec=BEAT, watchdog=WATCHDOG)

    async with lab:
        pid = (await lab.start()).pid
        await asyncio.sleep(WATCHDOG * 1.5)
        seen = await lab.settle()
        assert (seen[ONE].state, seen[ONE].pid) == (InstanceState.READY, pid)
        began = time.monotonic()
        await lab.drain()
        assert time.monotonic() - began < 2.0  # not when the long sleep is over


# --- the whole of trapd ----------------------------------------------------------------------------------------------

# each message carries who sent it, and when
STAMPING = """
from celery.signals import before_task_publish

@before_task_publish.connect
def stamp(headers=None, **_):
    headers["sent_by"] = [os.getpid(), shipyard.VERSION, time.time()]
"""
PERIOD = 0.5  # s
SCHEDULE = {"nap": {"task": NAP, "schedule": PERIOD, "args": (0, "/dev/null")}}


def beating(version: str, more: str = "") -> dict[str, str]:
    files = good(version)
    return {**files, "shipyard/jobs.py": files["shipyard/jobs.py"] + STAMPING + more}


@dataclass(frozen=True)
class Sent:
    """One message that beat sent."""

    pid: int
    version: str
    at: float  # since the epoch


def received(broker: Broker) -> list[Sent]:
    """Every message of the queue, in order; it is empty then."""
    app, found = broker.app(), list[Sent]()
    with app.connection_for_read() as connection, connection.SimpleQueue(app.amqp.queues[broker.queue]) as queue:
        while True:
            try:
                message = queue.get(block=True, timeout=0.5)
            except queue.Empty:
                return found
            found.append(Sent(*message.headers["sent_by"]))
            message.ack()


def beats(version: str) -> Callable[[Status], bool]:
    return settled_on(version, 1)  # of pool "default"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", rows(usual=["rabbitmq"], more=["redis"]))
def test_over_upgrade_rejection_and_crash_each_task_is_sent_once_by_one_beat(
    short_path: Path, request: pytest.FixtureRequest, application: Application, kind: str
) -> None:
    broker = make_broker(kind, request)
    application.put("1.0", beating("1.0"))
    tables: dict[str, Table] = {
        "app": {"app": APP, "python": str(application.python)},
        "watch": {"distributions": [NAME]},
        "rollout": {"min_ready": "1s"},
        "pools.default": {"run": "beat"},
    }
    config = broker.celeryconfig(beat_schedule=SCHEDULE)
    with Daemon(short_path, celeryconfig=config, tables=tables) as daemon:
        status = daemon.wait_until("a beat on 1.0", beats("1.0"))
        assert pool(status)["instances"][0]["active_tasks"] == 0
        application.install(application.wheel("2.0", beating("2.0")))
        daemon.wait_until("a beat on 2.0", beats("2.0"))
        application.install(application.wheel("3.0", beating("3.0", "\nraise RuntimeError('the hull leaks')\n")))
        daemon.wait_until("a rejection", lambda s: pool(s)["rollout"]["state"] == "rejected" and beats("2.0")(s))
        daemon.kill()
        daemon.start()
        status = daemon.wait_until("a beat again", beats("2.0"))
        time.sleep(1)
        os.kill(pid := pool(status)["instances"][0]["pid"], signal.SIGKILL)
        daemon.wait_until(
            "another beat", lambda s: beats("2.0")(s) and pool(s)["instances"][0]["pid"] not in (None, pid)
        )
    sent = received(broker)
    runs = [pid for pid, _ in itertools.groupby(sent, key=lambda one: one.pid)]
    assert len(set(runs)) == len(runs) >= 5, "two beats at once"
    assert min(b.at - a.at for a, b in itertools.pairwise(sent)) > 0.2 * PERIOD, "a task was sent twice at once"
    assert [version for version, _ in itertools.groupby(sent, key=lambda one: one.version)] == ["1.0", "2.0"]
    with shelve.open(str(daemon.state / "workers/default/celerybeat-schedule")) as kept:
        assert kept["entries"]["nap"].total_run_count == len(sent), "not noted, and so sent again"
