"""Real workers and their tasks: READY means that it consumes, a drain loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.brokers import Broker
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import InstanceId, InstanceState, PoolSpec

pytestmark = client_warnings

TWO, NEWER = InstanceId("default", 7, 2), InstanceId("default", 8, 1)


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Broker:
    """The embedded broker, for what does not depend on the broker."""
    return make_broker("embedded", request)


async def appears(path: Path) -> None:
    await asyncio.to_thread(wait, path.exists)


def test_ready_means_that_a_task_sent_now_is_run(short_path: Path, broker: Broker) -> None:
    lab = WorkerLab(short_path, broker)

    async def story() -> None:
        pid = (await lab.start()).pid
        assert await lab.call("nap", 0) == pid  # it ran in a child of the main process

    lab.play(story)


def test_a_drained_worker_finishes_what_runs_and_hands_back_the_rest(short_path: Path, broker: Broker) -> None:
    """One worker with one task running and more in reserve; the second then runs those, each once."""
    lab = WorkerLab(short_path, broker)
    ledger = short_path / "ledger"

    async def story() -> None:
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

    lab.play(story)


@pytest.mark.parametrize("celery_pool", ["solo", "threads", "eventlet", "gevent"])
def test_other_celery_pools_finish_what_runs_too(short_path: Path, files: Broker, celery_pool: str) -> None:
    lab = WorkerLab(short_path, files, spec=PoolSpec("default", celery_pool=celery_pool))

    async def story() -> None:
        await lab.start()
        sent = await lab.send("nap", 1.0, str(short_path / "ledger"))
        await appears(short_path / "ledger.started")
        await lab.drain()
        assert await lab.result(sent)

    lab.play(story)


def test_the_status_counts_what_runs(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files)

    async def story() -> None:
        assert (await lab.start()).status == "ready, 0 active"
        await lab.send("hold", str(short_path / "ledger"))
        await appears(short_path / "ledger.started")
        await lab.backend.drain(ONE)
        seen = await lab.until(lambda seen: seen[ONE].status.startswith("draining"))
        assert seen[ONE].active_tasks == 1
        (short_path / "ledger.go").touch()
        await lab.until(lambda seen: ONE not in seen)

    lab.play(story)


def test_a_worker_has_the_pools_settings(short_path: Path, files: Broker) -> None:
    spec = PoolSpec("default", concurrency=2, queues=("red", "blue"), max_tasks_per_child=1, environment={"HUE": "7"})
    extra = "\n\n@app.task\ndef hue():\n    return os.environ['HUE'], os.getpid()\n"
    lab = WorkerLab(short_path, files, spec=spec)
    jobs = lab.generations / "7/code/naps/jobs.py"
    jobs.write_text(jobs.read_text() + extra)

    async def story() -> None:
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

    lab.play(story)


def test_two_generations_run_side_by_side(short_path: Path, broker: Broker) -> None:
    lab = WorkerLab(short_path, broker)
    lab.generation(8)

    async def story() -> None:
        await lab.start()
        await lab.start(NEWER)
        answers = await lab.ask("trapd_code", workers=2)
        assert sorted(code["generation"] for answer in answers for code in answer.values()) == [7, 8]
        await lab.drain()
        assert await lab.call("nap", 0)

    lab.play(story)


def make_generation_with_a_new_task(lab: WorkerLab) -> None:
    jobs = lab.generation(NEWER.generation) / "code/naps/jobs.py"
    jobs.write_text(jobs.read_text() + "\n\n@app.task\ndef brand_new():\n    return 'here'\n")


def test_a_new_task_that_reaches_an_old_worker_waits_for_a_new_one(short_path: Path, broker: Broker) -> None:
    lab = WorkerLab(short_path, broker)
    make_generation_with_a_new_task(lab)

    async def story() -> None:
        await lab.start()
        sent = await lab.send("brand_new")
        await lab.call("nap", 0)  # sent after it: the old worker has met it, and goes on working
        assert "handed back" in lab.told()
        await lab.start(NEWER)
        assert await lab.result(sent) == "here"

    lab.play(story)


def test_a_new_task_that_an_old_worker_holds_is_not_lost_by_its_drain(short_path: Path, broker: Broker) -> None:
    lab = WorkerLab(short_path, broker)
    make_generation_with_a_new_task(lab)

    async def story() -> None:
        await lab.start()
        sent = await lab.send("brand_new")
        await lab.call("nap", 0)
        await lab.drain()
        await lab.start(NEWER)
        assert await lab.result(sent) == "here"

    lab.play(story)


def test_commands_to_a_dead_worker_are_not_carried_out_by_the_next_of_its_name(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files)

    async def story() -> None:
        await lab.start()
        [[node]] = [list(answer) for answer in await lab.ask("ping")]
        await lab.backend.kill(ONE)
        await lab.failure()
        await asyncio.to_thread(lab.client.control.cancel_consumer, files.queue, destination=[node])
        await lab.start()
        assert await lab.call("nap", 0)
        await lab.drain()
        assert await asyncio.to_thread(lambda: not list(short_path.rglob(f"*{node}*")))  # nothing waits for it

    lab.play(story)


def test_always_eager_does_no_harm(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files, celeryconfig="task_always_eager = True\n")

    async def story() -> None:
        await lab.start()
        assert await lab.call("nap", 0)

    lab.play(story)


def test_a_hangup_does_not_replace_the_worker_by_one_without_its_snapshot(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files)

    async def story() -> None:
        pid = (await lab.start()).pid
        assert pid
        os.kill(pid, signal.SIGHUP)
        assert await lab.call("nap", 0) == pid
        assert (await lab.settle())[ONE].state is InstanceState.READY
        assert "Restarting" not in lab.told()

    lab.play(story)
