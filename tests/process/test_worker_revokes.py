"""What was revoked stays revoked: over a crash, over a recycle, with every Celery pool."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import InstanceId, InstanceState
from trapd.spec import PoolSpec
from trapd.worker.account import FOLDER

pytestmark = client_warnings

TWO, NEWER = InstanceId("default", 7, 2), InstanceId("default", 8, 1)


async def revoke(lab: WorkerLab, *ids: str, workers: int = 1) -> None:
    """Return when so many workers have said that they know."""
    await lab.ask("ping", workers)
    answers = await asyncio.to_thread(lab.client.control.revoke, ids, reply=True, timeout=10.0, limit=workers)
    assert len(answers) == workers


async def kill(lab: WorkerLab, *ids: InstanceId) -> None:
    for id in ids:
        await lab.backend.kill(id)
    await lab.until(lambda seen: all(seen[id].state is InstanceState.FAILED for id in ids))


async def appears(path: Path) -> None:
    await asyncio.to_thread(wait, path.exists)


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
async def test_revoked_tasks_do_not_run_after_every_worker_was_killed(
    short_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    lab = WorkerLab(short_path, make_broker(name, request))
    lab.generation(8)
    ledger = short_path / "ledger"

    async with lab:
        await asyncio.gather(lab.start(ONE), lab.start(TWO))
        for name in ("one", "two"):  # both are busy: the others wait
            await lab.send("hold", str(short_path / name))
            await appears(short_path / f"{name}.started")
        waiting = [await lab.send("nap", 0, str(ledger)) for _ in range(20)]
        await revoke(lab, *(sent.id for sent in waiting), workers=2)
        await kill(lab, ONE, TWO)
        await lab.start(NEWER)
        assert await lab.call("nap", 0)  # sent after them all
        assert not ledger.exists()
        assert lab.told(NEWER).count("Discarding revoked task") >= 10  # what was reserved died with its worker


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
async def test_a_recycle_hands_revokes_on_by_id_by_stamp_and_of_what_is_scheduled(
    short_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    lab = WorkerLab(short_path, make_broker(name, request))
    lab.generation(8)
    ledger = short_path / "ledger"
    stamp = {"stamped_headers": ["batch"], "batch": "night"}

    async with lab:
        await lab.start()
        await lab.send("hold", str(short_path / "hold"))
        await appears(short_path / "hold.started")
        due = time.monotonic() + 4
        scheduled = await lab.send("nap", 0, str(ledger), countdown=4)
        waiting = await lab.send("nap", 0, str(ledger))
        stamped = [await lab.send("nap", 0, str(ledger), **stamp, **more) for more in ({}, {"countdown": 4})]
        await revoke(lab, scheduled.id, waiting.id)
        control = lab.client.control
        assert await asyncio.to_thread(
            control.revoke_by_stamped_headers, {"batch": ["night"]}, reply=True, timeout=10.0, limit=1
        )
        await lab.start(NEWER)
        await lab.backend.drain(ONE)
        (short_path / "hold.go").touch()
        await lab.until(lambda seen: ONE not in seen)
        told = lambda: lab.told(ONE) + lab.told(NEWER)  # noqa: E731
        await asyncio.to_thread(wait, lambda: told().count("Discarding revoked") == 2 + len(stamped))
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        assert await lab.call("nap", 0)
        assert not ledger.exists()


@pytest.mark.parametrize(
    ("name", "celery_pool"),
    [("embedded", "prefork"), ("redis", "threads"), ("redis", "solo"), ("redis", "gevent")],
)
async def test_every_celery_pool_hands_revokes_on(
    short_path: Path, request: pytest.FixtureRequest, name: str, celery_pool: str
) -> None:
    """Also one that the old worker alone was told after its successor had started: that looks again for a while."""
    lab = WorkerLab(short_path, make_broker(name, request), spec=PoolSpec("default", celery_pool=celery_pool))
    lab.generation(8)
    before, after, ledger = str(uuid.uuid4()), str(uuid.uuid4()), short_path / "ledger"

    async with lab:
        await lab.start()
        await revoke(lab, before)
        await lab.start(NEWER)
        [node] = [node for answer in await lab.ask("ping", 2) for node in answer if node.startswith(ONE.node)]
        await asyncio.to_thread(lab.client.control.revoke, after, reply=True, destination=[node], timeout=10.0)
        await asyncio.to_thread(wait, lambda: lab.told(NEWER).count("taken over from other workers") == 2)
        await kill(lab, ONE)
        for id in (before, after):
            await lab.send("nap", 0, str(ledger), task_id=id)
        await lab.call("nap", 0)
        assert not ledger.exists()


async def test_nothing_is_written_where_nothing_is_revoked(short_path: Path, request: pytest.FixtureRequest) -> None:
    lab = WorkerLab(short_path, make_broker("redis", request))

    async with lab:
        await lab.start()
        await lab.call("nap", 0)
        await lab.drain()
        assert not (short_path / "workers" / FOLDER).exists()


async def test_celerys_own_state_file_goes_from_generation_to_generation(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    config = f"worker_state_db = {str(short_path / '%n.state')!r}\n"
    lab = WorkerLab(short_path, make_broker("redis", request), celeryconfig=config)
    lab.generation(8)
    revoked, ledger = str(uuid.uuid4()), short_path / "ledger"

    async with lab:
        await lab.start()
        await revoke(lab, revoked)
        await lab.drain()  # Celery writes it at a clean end
        await asyncio.to_thread(shutil.rmtree, short_path / "workers")  # what trapd itself would hand on
        await lab.start(NEWER)
        await lab.send("nap", 0, str(ledger), task_id=revoked)
        await lab.call("nap", 0)
        assert not ledger.exists()
    assert {path.name.partition(".")[0] for path in short_path.glob("*.state*")} == {"default-7-1", "default-8-1"}
