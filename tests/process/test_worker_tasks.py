"""Real workers and their tasks: READY means that it consumes, a drain loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.brokers import Broker
from tests.support.repetitions import rows
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.event import Became
from trapd.model import InstanceId, InstanceState
from trapd.spec import PoolSpec
from trapd.worker.bootsteps import STAMP_EVERY

pytestmark = client_warnings

TWO, NEWER = InstanceId("default", 7, 2), InstanceId("default", 8, 1)


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Broker:
    """The embedded broker, for what does not depend on the broker."""
    return make_broker("embedded", request)


def add_tasks(lab: WorkerLab, generation: int, source: str) -> None:
    """To the application's own, in the snapshot."""
    jobs = lab.generations / f"{generation}/code/naps/jobs.py"
    jobs.write_text(f"{jobs.read_text()}\n\n{source}")


async def appears(path: Path) -> None:
    await asyncio.to_thread(wait, path.exists)


async def test_ready_means_that_a_task_sent_now_is_run(short_path: Path, broker: Broker) -> None:
    lab = WorkerLab(short_path, broker)

    async with lab:
        pid = (await lab.start()).pid
        assert await lab.call("nap", 0) == pid  # it ran in a child of the main process


async def test_the_number_of_running_tasks_is_at_most_a_second_old(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files)

    async def tells(number: int) -> float:
        """The seconds until it is seen."""
        began = time.monotonic()
        await lab.until(lambda seen: seen[ONE].active_tasks == number)
        return time.monotonic() - began

    async with lab:
        await lab.start()
        held = await lab.send("hold", str(short_path / "held"))
        await appears(short_path / "held.started")
        more = await tells(1)
        (short_path / "held.go").touch()
        await lab.result(held)
        assert max(more, await tells(0)) < 2.0  # on a busy machine; without the promise it is 10 s


async def test_a_drained_worker_finishes_what_runs_and_hands_back_the_rest(short_path: Path, broker: Broker) -> None:
    """One worker with one task running and more in reserve; the second then runs those, each once."""
    lab = WorkerLab(short_path, broker)
    ledger = short_path / "ledger"

    async with lab:
        await lab.start()
        sent = [await lab.send("nap", 1.5, str(ledger)) for _ in range(4)]
        await appears(ledger.with_name("ledger.started"))
        await lab.drain()
        done = len(ledger.read_text().splitlines())
        assert 1 <= done < 4  # what ran, and what was on its way into the pool
        await lab.start(TWO)
        for result in sent:
            await lab.result(result)
        assert len(ledger.read_text().splitlines()) == 4


ALL_OF_IT, MORE_THAN_A_PIPE_TAKES = 1, 1_000_000
ACCEPTED = rows(
    usual=[
        ("redis", False, MORE_THAN_A_PIPE_TAKES),
        ("redis", True, ALL_OF_IT),
        ("rabbitmq", False, ALL_OF_IT),
        ("rabbitmq", True, MORE_THAN_A_PIPE_TAKES),
    ],
    more=[
        ("redis", False, ALL_OF_IT),
        ("redis", True, MORE_THAN_A_PIPE_TAKES),
        ("rabbitmq", False, MORE_THAN_A_PIPE_TAKES),
        ("rabbitmq", True, ALL_OF_IT),
    ],
)


@pytest.mark.parametrize(("name", "late", "size"), ACCEPTED)
async def test_a_task_that_a_process_has_but_has_not_accepted_when_the_drain_begins_is_not_run_twice(
    short_path: Path, request: pytest.FixtureRequest, name: str, late: bool, size: int
) -> None:
    """Celery gives such a task back, and runs it too: then its process waits 30 s, or for ever for the rest of it."""
    lab = WorkerLab(short_path, make_broker(name, request), celeryconfig=f"task_acks_late = {late}\n")
    lab.generation(8)
    for number in (7, 8):
        add_tasks(lab, number, "@app.task\ndef load(path, load):\n    nap(0, path)\n")
    ledger = short_path / "ledger"

    async with lab:
        await lab.start()
        [[stats]] = [list(answer.values()) for answer in await lab.ask("stats")]
        [process] = stats["pool"]["processes"]
        os.kill(process, signal.SIGSTOP)  # it says nothing
        sent = await lab.send("load", str(ledger), "x" * size)
        await asyncio.to_thread(wait, lambda: "received" in lab.told())
        await asyncio.sleep(0.5)  # the next turn of the worker's loop gives the task to the process
        asyncio.get_running_loop().call_later(1.5, os.kill, process, signal.SIGCONT)
        told = time.monotonic()
        await lab.drain()
        took = time.monotonic() - told
        await lab.start(NEWER)
        await lab.result(sent)
        assert await lab.call("nap", 0)  # sent after it: by now a task that was given back has run too
        assert ledger.read_text() == "done\n"
        assert took < 20


LIMITED = """
@app.task(rate_limit="20/m")
def limited(path):
    nap(0, path)
"""


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
async def test_what_was_only_reserved_does_not_wait_for_the_end_of_a_drain(
    short_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    lab = WorkerLab(short_path, make_broker(name, request))
    add_tasks(lab, 7, LIMITED)

    async with lab:
        await lab.start()
        held = await lab.send("hold", str(short_path / "ledger"))
        await appears(short_path / "ledger.started")
        limited = [await lab.send("limited", str(short_path / "limited")) for _ in range(2)]
        scheduled = await lab.send("nap", 0, str(short_path / "scheduled"), countdown=2)
        reserved = [await lab.send("nap", 0, str(short_path / "reserved")) for _ in range(3)]
        await asyncio.to_thread(wait, lambda: lab.told().count("received") >= 5)
        await lab.backend.drain(ONE)
        await lab.until(lambda seen: seen[ONE].state is InstanceState.DRAINING)
        await lab.start(TWO)
        for sent in [*reserved, scheduled, *limited]:
            await lab.result(sent)
        assert ONE in await lab.settle()
        (short_path / "ledger.go").touch()
        await lab.until(lambda seen: ONE not in seen)
        assert await lab.call("nap", 0)  # sent after all: whatever might come twice has come
        assert len((short_path / "reserved").read_text().splitlines()) == 3
        assert len((short_path / "scheduled").read_text().splitlines()) == 1
        assert len((short_path / "limited").read_text().splitlines()) == 2
        became = await lab.receipt()  # its prefetch may have left one in the queue
        assert became.pop(held.id) is Became.FINISHED
        assert set(became.values()) == {Became.RETURNED}
        assert len(became) >= 4
        assert set(became) <= {sent.id for sent in [*reserved, scheduled, *limited]}


async def test_a_drain_that_outlasts_the_heartbeats_repeats_no_task(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    """RabbitMQ closes a connection that is silent for two of them, and gives what was not acknowledged to others."""
    late = "task_acks_late = True\nbroker_heartbeat = 4\n"  # s; a machine may stand still for twice that
    lab = WorkerLab(short_path, make_broker("rabbitmq", request), celeryconfig=late)
    started = short_path / "ledger.started"

    async with lab:
        await lab.start()
        sent = await lab.send("hold", str(short_path / "ledger"))
        await appears(started)
        started.unlink()
        await lab.backend.drain(ONE)
        await lab.start(TWO)
        await asyncio.sleep(12.0)
        (short_path / "ledger.go").touch()
        await lab.until(lambda seen: ONE not in seen)
        await lab.result(sent)
        assert await lab.call("nap", 0)  # sent after it: a repetition has begun by now
        assert not started.exists()


async def test_a_message_that_redis_gives_to_a_worker_whose_drain_has_begun_does_not_wait_for_the_end(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    """The old worker has a process free, and has asked for a message before the new one has."""
    options = "broker_transport_options = {'polling_interval': 1.9}\n"  # s for which it asks; else 1
    spec = PoolSpec("default", concurrency=2)
    lab = WorkerLab(short_path, make_broker("redis", request), celeryconfig=options, spec=spec)

    async with lab:
        await lab.start()
        await lab.send("hold", str(short_path / "ledger"))
        await appears(short_path / "ledger.started")
        await lab.start(TWO)
        await lab.backend.drain(ONE)
        await asyncio.sleep(STAMP_EVERY + 0.1)  # its loop has ended, and what it has asked for is not answered
        sent = []
        for _ in range(12):
            sent.append(await lab.send("nap", 0))
            await asyncio.sleep(0.1)
        for result in sent:
            await lab.result(result)
        assert ONE in await lab.settle()
        (short_path / "ledger.go").touch()
        await lab.until(lambda seen: ONE not in seen)


# Each Celery pool and each broker; all pairs only now and then.
PAIRS = rows(
    usual=[
        *(("prefork", kind) for kind in ("rabbitmq", "redis", "embedded")),
        ("solo", "redis"),
        ("threads", "embedded"),
        ("eventlet", "rabbitmq"),
        ("gevent", "redis"),
    ],
    more=[
        *(("solo", kind) for kind in ("rabbitmq", "embedded")),
        *(("threads", kind) for kind in ("rabbitmq", "redis")),
        *(("eventlet", kind) for kind in ("redis", "embedded")),
        *(("gevent", kind) for kind in ("rabbitmq", "embedded")),
    ],
)


@pytest.mark.parametrize(("celery_pool", "kind"), PAIRS)
async def test_every_celery_pool_works_on_every_broker_and_its_drain_loses_nothing(
    short_path: Path, request: pytest.FixtureRequest, celery_pool: str, kind: str
) -> None:
    """Of many tasks some run, some wait in the worker and some in the queue when the drain begins."""
    spec = PoolSpec("default", celery_pool=celery_pool, concurrency=2)
    lab = WorkerLab(short_path, make_broker(kind, request), spec=spec)
    ledger = short_path / "ledger"

    async with lab:
        await lab.start()
        assert await lab.call("nap", 0)  # at once, and the answer came
        sent = [await lab.send("nap", 0.2, str(ledger)) for _ in range(12)]
        await appears(ledger.with_name("ledger.started"))
        await lab.start(TWO)
        await lab.drain()
        for result in sent:
            assert await lab.result(result)
        assert len(ledger.read_text().splitlines()) == 12
        await lab.drain(TWO)
        first, second = await lab.receipt(), await lab.receipt(TWO)
        finished = [id for found in (first, second) for id in found if found[id] is Became.FINISHED]
        assert Became.UNKNOWN not in [*first.values(), *second.values()]
        assert len(finished) == len({*finished})
        assert {*first, *second} <= {result.id for result in sent}
        assert "cannot tell" not in lab.told() + lab.told(TWO)


NOT_BEGUN = rows(
    usual=[("solo", "redis"), ("threads", "rabbitmq"), ("eventlet", "redis"), ("gevent", "rabbitmq")],
    more=[("solo", "rabbitmq"), ("threads", "redis"), ("eventlet", "rabbitmq"), ("gevent", "redis")],
)


@pytest.mark.parametrize(("celery_pool", "name"), NOT_BEGUN)
async def test_what_other_celery_pools_have_not_begun_does_not_wait_for_the_end_of_a_drain(
    short_path: Path, request: pytest.FixtureRequest, name: str, celery_pool: str
) -> None:
    """Threads give back what is only reserved; the others begin that at once, and give back what has its time to come.

    The loop of solo stands still while a task runs, and reads all that came meanwhile before it looks at SIGTERM.
    """
    lab = WorkerLab(short_path, make_broker(name, request), spec=PoolSpec("default", celery_pool=celery_pool))
    solo = celery_pool == "solo"
    reserved = {"threads": 3, "solo": 2}.get(celery_pool, 0)

    async with lab:
        await lab.start()
        sent = [await lab.send("nap", 0, str(short_path / "scheduled"), countdown=3)]
        await asyncio.to_thread(wait, lambda: lab.told().count("received") >= 1)
        await lab.send("hold", str(short_path / "ledger"))
        await appears(short_path / "ledger.started")
        sent += [await lab.send("nap", 0, str(short_path / "reserved")) for _ in range(reserved)]
        if not solo:
            await asyncio.to_thread(wait, lambda: lab.told().count("received") >= 2 + reserved)
        await lab.backend.drain(ONE)
        await lab.until(lambda seen: seen[ONE].state is InstanceState.DRAINING)
        if solo:
            (short_path / "ledger.go").touch()
        await lab.start(TWO)
        for result in sent:
            await lab.result(result)
        assert solo or ONE in await lab.settle()
        (short_path / "ledger.go").touch()
        await lab.until(lambda seen: ONE not in seen)
        assert await lab.call("nap", 0)  # sent after all: whatever might come twice has come
        assert (short_path / "scheduled").read_text() == "done\n"
        assert not reserved or len((short_path / "reserved").read_text().splitlines()) == reserved
        assert "cannot tell" not in lab.told()
        if solo:
            assert lab.told().count("received") == 2  # it has begun nothing more


async def test_the_status_counts_what_runs(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files)

    async with lab:
        assert (await lab.start()).status == "ready, 0 active"
        await lab.send("hold", str(short_path / "ledger"))
        await appears(short_path / "ledger.started")
        await lab.backend.drain(ONE)
        seen = await lab.until(lambda seen: seen[ONE].status.startswith("draining"))
        assert seen[ONE].active_tasks == 1
        (short_path / "ledger.go").touch()
        await lab.until(lambda seen: ONE not in seen)


async def test_a_worker_has_the_pools_settings(short_path: Path, files: Broker) -> None:
    spec = PoolSpec("default", concurrency=2, queues=("red", "blue"), max_tasks_per_child=1, environment={"HUE": "7"})
    extra = "@app.task\ndef hue():\n    return os.environ['HUE'], os.getpid()\n"
    lab = WorkerLab(short_path, files, spec=spec)
    add_tasks(lab, 7, extra)

    async with lab:
        await lab.start()
        sent = [await lab.send("hue", queue=queue) for queue in ("red", "blue", "red")]
        results = [await lab.result(result) for result in sent]
        assert {hue for hue, _ in results} == {"7"}
        assert len({pid for _, pid in results}) == 3  # a new child for each
        [answer] = await lab.ask("active_queues")
        [(node, queues)] = answer.items()
        assert node.startswith("default-7-1@")
        assert {queue["name"] for queue in queues} == {"red", "blue"}
        [answer] = await lab.ask("stats")
        assert answer[node]["pool"]["max-concurrency"] == 2


async def test_two_generations_run_side_by_side(short_path: Path, broker: Broker) -> None:
    lab = WorkerLab(short_path, broker)
    lab.generation(8)

    async with lab:
        await lab.start()
        await lab.start(NEWER)
        answers = await lab.ask("trapd_code", workers=2)
        assert sorted(code["generation"] for answer in answers for code in answer.values()) == [7, 8]
        await lab.drain()
        assert await lab.call("nap", 0)


def make_generation_with_a_new_task(lab: WorkerLab) -> None:
    lab.generation(NEWER.generation)
    add_tasks(lab, NEWER.generation, "@app.task\ndef brand_new():\n    return 'here'\n")


async def test_a_new_task_that_reaches_an_old_worker_waits_for_a_new_one(short_path: Path, broker: Broker) -> None:
    lab = WorkerLab(short_path, broker)
    make_generation_with_a_new_task(lab)

    async with lab:
        await lab.start()
        sent = await lab.send("brand_new")
        await lab.call("nap", 0)  # sent after it: the old worker has met it, and goes on working
        assert "parked in" in lab.told()
        await lab.start(NEWER)
        assert await lab.result(sent) == "here"


async def test_a_new_task_that_an_old_worker_holds_is_not_lost_by_its_drain(short_path: Path, broker: Broker) -> None:
    lab = WorkerLab(short_path, broker)
    make_generation_with_a_new_task(lab)

    async with lab:
        await lab.start()
        sent = await lab.send("brand_new")
        await lab.call("nap", 0)
        await lab.drain()
        await lab.start(NEWER)
        assert await lab.result(sent) == "here"


async def test_commands_to_a_dead_worker_are_not_carried_out_by_the_next_of_its_name(
    short_path: Path, files: Broker
) -> None:
    lab = WorkerLab(short_path, files)

    async with lab:
        await lab.start()
        [[node]] = [list(answer) for answer in await lab.ask("ping")]
        await lab.backend.kill(ONE)
        await lab.failure()
        await asyncio.to_thread(lab.client.control.cancel_consumer, files.queue, destination=[node])
        await lab.start()
        assert await lab.call("nap", 0)
        await lab.drain()
        assert await asyncio.to_thread(lambda: not list(short_path.rglob(f"*{node}*")))  # nothing waits for it


async def test_always_eager_does_no_harm(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files, celeryconfig="task_always_eager = True\n")

    async with lab:
        await lab.start()
        assert await lab.call("nap", 0)


async def test_a_hangup_does_not_replace_the_worker_by_one_without_its_snapshot(
    short_path: Path, files: Broker
) -> None:
    lab = WorkerLab(short_path, files)

    async with lab:
        pid = (await lab.start()).pid
        assert pid
        os.kill(pid, signal.SIGHUP)
        assert await lab.call("nap", 0) == pid
        assert (await lab.settle())[ONE].state is InstanceState.READY
        assert "Restarting" not in lab.told()
