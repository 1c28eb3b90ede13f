"""A generation that trapd 0.1.0 has made: its workers start, it is gone back to, and it comes to share its files.

It lies in generation_0_1_0.tar.xz as trapd of November 2026 left it, but for its interpreter: with ``files.json`` and
without a store, and with the worker part of its time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.process.test_closed import Home
from tests.support.looks import look
from tests.support.site_packages import install
from tests.support.worker_lab import WorkerLab, client_warnings
from tests.unit.test_controller import triggers
from trapd.generations import manifest, table
from trapd.generations.snapshot import SnapshotStore
from trapd.layout import interpreter
from trapd.model import Generation, InstanceId, PoolState
from trapd.rollout import want
from trapd.spec import PoolSpec

pytestmark = client_warnings
ARCHIVE = Path(__file__).with_name("generation_0_1_0.tar.xz")
POOLS = [PoolSpec("default", concurrency=1)]


@pytest.fixture
def lab(short_path: Path, request: pytest.FixtureRequest) -> WorkerLab:
    broker = make_broker("embedded", request)
    lab = WorkerLab(short_path, broker)
    config = short_path / "celeryconfig.py"
    config.write_text(broker.celeryconfig())
    lab.environment["NAPS_CELERYCONFIG"] = str(config)
    with tarfile.open(ARCHIVE) as archive:
        # as it is: the Python of Debian 12 knows no other way, and has no word for this one
        as_it_is: Any = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
        archive.extractall(lab.generations, **as_it_is)
    manifest = lab.generations / "3/manifest.json"
    about = json.loads(manifest.read_text())
    manifest.chmod(0o600)
    manifest.write_text(json.dumps(about | {"python": sys.executable}))
    return lab


async def answer(lab: WorkerLab, number: int) -> tuple[str, str]:
    """The version that a worker of this generation has, and where its module lies."""
    await lab.start(InstanceId("default", number, 1))
    version, file = await lab.call("version")
    await lab.drain(InstanceId("default", number, 1))
    return version, file


async def test_its_workers_start_and_so_do_those_of_a_copy(lab: WorkerLab) -> None:
    store = SnapshotStore(lab.generations)
    assert 3 in store.present()
    assert await store.examine([3]) == frozenset()
    assert await store.cost(3) is None
    async with lab:
        assert await answer(lab, 3) == ("1.0", f"{lab.generations}/3/code/naps/jobs.py")
        for number, source in ((8, 3), (9, 8)):
            await store.copy(Generation(number, "f3", {"naps": "1.0"}, {}, "undo", "tests", 0.0), source, POOLS)
        await store.compile(9)
        await store.remove(3)
        await store.remove(8)
        assert await answer(lab, 9) == ("1.0", f"{lab.generations}/9/code/naps/jobs.py")
    entries = list(table.read(lab.generations / "9"))
    assert all(entry.object for entry in entries)
    assert await store.examine([9]) == frozenset()
    assert (lab.generations / "9/etc/celeryconfig.py").stat().st_mode & 0o777 == 0o440


async def test_an_undo_goes_back_to_it_from_a_generation_with_an_environment(lab: WorkerLab) -> None:
    store = SnapshotStore(lab.generations)
    home = Home(lab.generations.parent / "home")
    install(home.site, "trap", "2.0", {"trap.py": "VERSION = '2.0'\n"})
    orders = triggers()
    known = orders.controller
    known.snapshots, name = store, known.application.identity
    launch = {"p": want.launch_digest(known.specs["p"], name)}
    known.generations[3] = Generation(3, "f3", {"trap": "1.0"}, launch, "a start", "watch", 0.0, application=name)
    known.states["p"] = PoolState("p", wanted=3, good=(3,))
    disk = await asyncio.to_thread(look, home.python, home.celeryconfig, "environment")
    (upgrade,) = await orders.disk_changed(disk)
    new = upgrade.generation
    assert (lab.generations / str(new) / "env/bin/python").is_symlink()
    known.states["p"] = replace(known.states["p"], good=(3, new), rollout=None)
    undo = await orders.undo("p", actor="ann")
    assert undo.reason == f"undo of generation {new}: trap 2.0 -> 1.0"
    back = lab.generations / str(undo.generation)
    assert interpreter(back, manifest.read(back).python) == sys.executable
    assert (back / "code/naps/jobs.py").is_file()
    assert await store.flaw(undo.generation) == ""


async def test_one_whose_files_have_lost_their_content_is_found(lab: WorkerLab) -> None:
    module = lab.generations / "3/code/naps/jobs.py"
    module.chmod(0o600)
    module.write_text("")
    store = SnapshotStore(lab.generations)
    assert 3 not in store.present()
    assert store.damaged()[3] == "code/naps/jobs.py: not as copied"
