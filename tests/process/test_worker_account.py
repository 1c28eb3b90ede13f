"""A worker's own account of its tasks: one suite for every Celery pool, at rest, busy, draining, and cut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from celery import group
from celery.exceptions import TaskRevokedError

from tests.conftest import make_broker
from tests.support import brokers
from tests.support.repetitions import rows
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd import task_table
from trapd.backend.accounts import WorkerAccounts
from trapd.backend.task_socket import NoAnswerError, ask
from trapd.event import Became
from trapd.layout import Runtime
from trapd.model import InstanceState
from trapd.spec import PoolSpec

pytestmark = client_warnings

POOLS = ["prefork", "solo", "threads", "gevent", "eventlet"]

JOBS = """

@app.task
def fail():
    raise KeyError("no such image")


@app.task(bind=True, max_retries=1)
def again(self, countdown=0):
    raise self.retry(countdown=countdown)


@app.task
def touch(path):
    Path(path).touch()


@app.task
def endless(path):
    Path(path).touch()
    while True:
        time.sleep(0.02)
"""


class Asked(WorkerLab):
    """A lab whose worker is asked for its account."""

    async def ask_worker(self, **question: object) -> dict[str, Any]:
        seen = {instance.id: instance for instance in await self.backend.observe()}
        pid = seen[ONE].pid
        assert pid is not None
        return await ask(Runtime(self.runtime).task_socket(ONE.name), pid, question)

    async def account(self) -> dict[str, Any]:
        return await self.ask_worker(ask="tasks")

    async def abstain_and_go_on(self) -> None:
        """A13."""
        async with asyncio.timeout(30):
            while (await self.ask_worker(ask="tasks", retrials={}, abstain=True))["queues"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            nap = await self.send("nap", 0)
            while not (await self.ask_worker(ask="tasks", retrials={}, abstain=False))["queues"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await self.result(nap)

    async def account_when(self, condition: Any) -> dict[str, Any]:
        """Until it is so: the main process of prefork learns of an end a moment after whoever waits for the result."""
        async with asyncio.timeout(20):
            while not condition(account := await self.account()):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)
        return account


def make(directory: Path, broker: brokers.Broker, celery_pool: str, **options: Any) -> Asked:
    spec = PoolSpec("default", celery_pool=celery_pool, concurrency=2)
    lab = Asked(directory, broker, spec=spec, **options)
    jobs = lab.generations / "7/code/naps/jobs.py"
    jobs.write_text(jobs.read_text() + JOBS)
    return lab


def begun(account: dict[str, Any]) -> list[str]:
    return [task["id"] for task in account["running"]]


@pytest.mark.parametrize("celery_pool", POOLS)
async def test_it_accounts_for_its_tasks_in_every_phase(
    short_path: Path, request: pytest.FixtureRequest, celery_pool: str
) -> None:
    lab = make(short_path, broker := make_broker("embedded", request), celery_pool)

    async with lab:
        await lab.start()
        account = await lab.account()
        assert (account["phase"], account["running"], account["tasks"]) == ("ready", [], {})
        assert (account["queues"], account["delivered"]) == ([broker.queue], None)
        await lab.call("nap", 0)
        for name in ("fail", "again"):
            with pytest.raises(Exception, match=r"no such image|Retry|again"):
                await lab.call(name)
        await lab.ask_worker(ask="tasks", retrials={"naps.jobs.fail": "1"})
        group([lab.client.signature("naps.jobs.fail") for _ in range(3)]).apply_async()
        await lab.account_when(lambda account: sum(account["tasks"]["naps.jobs.fail"]["failed"].values()) == 4)
        counts = (await lab.ask_worker(ask="tasks", retrials={"naps.jobs.fail": "1"}))["retrials"]["naps.jobs.fail"]
        assert (counts["received"], counts["failed"], counts["roots"]) == (3, {"KeyError": 3}, {"KeyError": 1})
        continued = await lab.ask_worker(ask="tasks", retrials={"naps.jobs.fail": "1.alone"})
        assert continued["compared"] == {"naps.jobs.fail": counts}
        assert continued["retrials"]["naps.jobs.fail"]["received"] == 0
        await lab.abstain_and_go_on()
        held = await lab.send("hold", str(short_path / "held"))
        await asyncio.to_thread(wait, (short_path / "held.started").exists)
        ended = {"naps.jobs.nap", "naps.jobs.fail", "naps.jobs.again"}
        account = await lab.account_when(lambda account: begun(account) == [held.id] and ended <= {*account["tasks"]})
        [running] = account["running"]
        assert (running["name"], running["queue"]) == ("naps.jobs.hold", broker.queue)
        assert 0 <= account["wall"] - running["since"] < 20
        assert account["wall"] - account["delivered"] < 20
        assert account["tasks"]["naps.jobs.nap"]["succeeded"] == 2
        assert account["tasks"]["naps.jobs.fail"]["roots"] == {"KeyError": 2}
        again = account["tasks"]["naps.jobs.again"]
        assert (again["received"], again["started"], again["retried"]) == (2, 2, 1)
        assert again["failed"] == {"MaxRetriesExceededError": 1}
        assert not await lab.backend.interrupt(ONE)  # it does not drain
        await lab.backend.drain(ONE)
        await lab.until(lambda seen: seen[ONE].state is InstanceState.DRAINING)
        account = await lab.account_when(lambda account: account["phase"] == "draining")
        assert begun(account) == [held.id]
        interrupted = await lab.backend.interrupt(ONE)
        assert interrupted is (celery_pool == "prefork")
        if not interrupted:
            (short_path / "held.go").touch()
        await lab.until(lambda seen: ONE not in seen)
        assert await lab.receipt() == {held.id: Became.FINISHED}
        await WorkerAccounts(lab.runtime).settle(ONE.name, gone=True)
    assert not list((short_path / "run/instances").iterdir())


# the two of green threads end a task alike
@pytest.mark.parametrize("celery_pool", rows(usual=["prefork", "solo", "threads", "gevent"], more=["eventlet"]))
async def test_a_task_is_ended_by_its_id_while_the_worker_drains_and_its_broker_is_away(
    short_path: Path, celery_pool: str
) -> None:
    with brokers.redis_server(short_path) as (url, server):
        lab = make(short_path, brokers.on_redis(url, 0), celery_pool, celeryconfig="task_ignore_result = True\n")

        async with lab:
            await lab.start()
            endless = await lab.send("endless", str(short_path / "begun"))
            await asyncio.to_thread(wait, (short_path / "begun").exists)
            server.process.send_signal(signal.SIGKILL)
            if celery_pool != "solo":  # whose loop notices nothing while a task runs in it
                await lab.until(lambda seen: seen[ONE].status.startswith("broker unreachable"))
            assert begun(await lab.account()) == [endless.id]
            await lab.backend.drain(ONE)
            await lab.account_when(lambda account: account["phase"] == "draining")
            assert "error" in await lab.ask_worker(end="no such id", now=False)
            hard = celery_pool not in ("solo", "threads")
            told = await lab.ask_worker(end=endless.id, now=True)
            assert ("done" in told) is hard
            if not hard:
                assert "done" in await lab.ask_worker(end=endless.id, now=False)
            with contextlib.suppress(NoAnswerError):  # it has left
                await lab.account_when(lambda account: not begun(account))


async def test_a_task_that_is_on_its_way_into_a_process_is_not_said_to_be_revoked(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    """Without an event loop, as on the file broker, Celery hands over one task more than there are processes."""
    lab = make(short_path, make_broker("embedded", request), "prefork")

    async with lab:
        await lab.start()
        held = [short_path / f"held{number}" for number in range(2)]
        for place in held:
            await lab.send("hold", str(place))
        answer: dict[str, Any] = {"done": ""}
        while "done" in answer:  # asked in the moment between its coming and its way: it is revoked in time
            await lab.account_when(lambda account: len(begun(account)) == 2 and account["reserved"] == 0)
            last = await lab.send("endless", str(short_path / "begun"))
            await lab.account_when(lambda account: account["reserved"] == 1)
            answer = await lab.ask_worker(end=last.id, now=False)
        assert answer["error"] == "it is on its way into a process; try again when it runs"
        assert (await lab.ask_worker(end=last.id, now=True))["error"] == answer["error"]
        for place in held:
            Path(f"{place}.go").touch()
        await asyncio.to_thread(wait, (short_path / "begun").exists)
        await lab.account_when(lambda account: begun(account) == [last.id])
        assert "done" in await lab.ask_worker(end=last.id, now=False)
        await lab.account_when(lambda account: not begun(account))


# solo takes no task in hand while one runs
@pytest.mark.parametrize("celery_pool", ["prefork", "threads", "gevent", "eventlet"])
async def test_a_task_that_waits_in_the_worker_is_ended_by_its_id_and_never_begins(
    short_path: Path, request: pytest.FixtureRequest, celery_pool: str
) -> None:
    lab = make(short_path, make_broker("redis", request), celery_pool)

    async with lab:
        await lab.start()
        for now in (False, True):
            places = [short_path / f"held{now}{number}" for number in range(2)]  # as many as the pool runs at a time
            held = [await lab.send("hold", str(place)) for place in places]
            waits = await lab.send("touch", str(short_path / "ran"))
            await lab.account_when(lambda account: len(begun(account)) == 2 and account["reserved"] == 1)
            answer = await lab.ask_worker(end=waits.id, now=now)
            assert answer.get("done") == "it waited here and is revoked"
            for place in places:
                Path(f"{place}.go").touch()
            for one in held:
                await lab.result(one)
            with pytest.raises(TaskRevokedError):
                await lab.result(waits)
        napped = [await lab.send("nap", 0) for _ in range(4)]
        for one in napped:
            await lab.result(one)
        account = await lab.account_when(lambda account: account["tasks"]["naps.jobs.nap"]["succeeded"] == 4)
        touched = account["tasks"]["naps.jobs.touch"]
        assert (touched["received"], touched["started"], touched["unbegun"]) == (2, 0, 2)
        assert (account["running"], account["reserved"]) == ([], 0)
        assert not (short_path / "ran").exists()
        assert "Traceback" not in lab.told()


@pytest.mark.parametrize("drains", [False, True])
async def test_what_a_killed_worker_ran_stands_in_its_table(
    short_path: Path, request: pytest.FixtureRequest, drains: bool
) -> None:
    lab = make(short_path, make_broker("embedded", request), "prefork")

    async with lab:
        worker = await lab.start()
        assert worker.pid is not None
        held = await lab.send("hold", str(short_path / "held"))
        await asyncio.to_thread(wait, (short_path / "held.started").exists)
        await lab.account_when(lambda account: begun(account) == [held.id])
        if drains:
            await lab.backend.drain(ONE)
            await asyncio.to_thread(wait, (lab.runtime / f"instances/{ONE}.receipt").exists)
        os.kill(worker.pid, signal.SIGKILL)
        await lab.until(lambda seen: ONE not in seen or seen[ONE].state is InstanceState.FAILED)
        assert await lab.receipt() == {held.id: Became.UNKNOWN}
        table = Runtime(lab.runtime).task_table(ONE.name).read_bytes()
        pid, [task] = task_table.parse(table)
        assert (pid, task.id, task.name) == (worker.pid, held.id, "naps.jobs.hold")


async def test_the_registered_tasks_have_digests(short_path: Path, request: pytest.FixtureRequest) -> None:
    lab = make(short_path, make_broker("embedded", request), "solo")

    async with lab:
        await lab.start()
        digests = (await lab.ask_worker(ask="registered"))["registered"]
        assert {"naps.jobs.nap", "naps.jobs.hold", "naps.jobs.again"} <= {*digests}
        assert digests["naps.jobs.hold"] == digests["naps.jobs.endless"] != digests["naps.jobs.nap"]
        assert "error" in await lab.ask_worker(ask="the time")
