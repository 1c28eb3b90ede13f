"""No worker compiles what it imports from its generation, whatever the installer has left out or a tool has touched."""

from __future__ import annotations

import asyncio
import hashlib
import py_compile
import re
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import environments
from tests.support.brokers import Broker
from tests.support.builders import application
from tests.support.snapshots import NAPS
from tests.support.worker_lab import WorkerLab, client_warnings, wait
from trapd.content import Environment
from trapd.generations import compiling, table
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation, InstanceId, TreeFile
from trapd.spec import PoolSpec

pytestmark = client_warnings
EIGHT = InstanceId("default", 8, 1)
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
TEXTS = {"naps/__init__.py": "", "naps/jobs.py": NAPS, "naps/later.py": "", "naps/template.py": "{{ no code }}"}


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Broker:
    return make_broker("embedded", request)


def installed(folder: Path, celeryconfig: str) -> Disk:
    """A package as uv leaves it, without compiled files, but for one that pip has compiled; and one that cannot be."""
    found = []
    for name, text in {
        **{f"code/{name}": text for name, text in TEXTS.items()},
        "etc/celeryconfig.py": celeryconfig,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        found.append(TreeFile(name, str(path), hashlib.sha256(text.encode()).hexdigest()))
    compiled = py_compile.compile(str(folder / "code/naps/__init__.py"), doraise=True)
    assert compiled is not None
    found.append(TreeFile(str(Path(compiled).relative_to(folder)), compiled, ""))
    return Disk(DiskState.SETTLED, fingerprint="f", versions={"naps": "1.0"}, files=tuple(found))


def in_environment(folder: Path, celeryconfig: str) -> Disk:
    """The same in a virtual environment, which finds Celery where these tests find it."""
    venv = folder / "venv"
    environments.bare(venv)
    (venv / SITE / "naps").mkdir()
    for name, text in TEXTS.items():
        (venv / SITE / name).write_text(text)
    py_compile.compile(str(venv / SITE / "naps/__init__.py"), doraise=True)
    (venv / SITE / "celery.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    environment = Environment(str(venv), "python", {SITE: str(venv / SITE)}, site=SITE)
    settings = [file for file in installed(folder, celeryconfig).files if file.path.startswith("etc/")]
    return Disk(DiskState.SETTLED, "", "f", {"naps": "1.0"}, tuple(settings), environment=environment)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.parametrize("optimize", ["", "2"])
async def test_a_worker_writes_no_file_and_compiles_nothing(short_path: Path, files: Broker, optimize: str) -> None:
    spec = PoolSpec("default", concurrency=1, environment={"PYTHONOPTIMIZE": optimize, "PYTHONVERBOSE": "1"})
    lab = WorkerLab(short_path, files, spec=spec)
    store = SnapshotStore(lab.generations)
    disk = installed(short_path / "installed", files.celeryconfig())
    generation = Generation(8, "f", {"naps": "1.0"}, {}, "a test", "tests", 0.0)
    await store.make(generation, disk, [spec], application("naps.jobs:app", python=sys.executable))
    await store.compile(8)
    made = lab.generations / "8"
    before = listing(made)
    async with lab:
        for _ in range(2):
            await lab.start(EIGHT)
            assert await lab.call("late") == str(made / "code/naps/later.py")
            await lab.drain(EIGHT)
            loaded = re.findall(r"# code object from '?([^'\n]+)'?", lab.told(EIGHT))
            ours = [name for name in loaded if name.startswith(str(made))]
            assert len([name for name in ours if "/naps/" in name]) >= 3
            assert [name for name in ours if not name.endswith(".pyc")] == []
    assert listing(made) == before


async def test_a_worker_in_an_environment_of_its_own_writes_no_file_and_compiles_nothing(
    short_path: Path, files: Broker
) -> None:
    """The second start, too: not in the generation, and not through its links in the store."""
    spec = PoolSpec("default", concurrency=1, environment={"PYTHONVERBOSE": "1"})
    lab = WorkerLab(short_path, files, spec=spec)
    store = SnapshotStore(lab.generations)
    disk = in_environment(short_path / "installed", files.celeryconfig())
    python = short_path / "installed/venv/bin/python"
    generation = Generation(8, "f", {"naps": "1.0"}, {}, "a test", "tests", 0.0)
    await store.make(generation, disk, [spec], application("naps.jobs:app", python=str(python)))
    await store.compile(8)
    made = lab.generations / "8"
    before = listing(made), listing(short_path / "store")
    async with lab:
        for start in range(2):
            await lab.start(EIGHT)
            assert await lab.call("late") == str(made / "env" / SITE / "naps/later.py")
            await lab.drain(EIGHT)
            told = lab.told(EIGHT)
            assert told.count(f"{made}/env/{SITE}/naps/__pycache__/jobs.") > start
            assert re.findall(rf"# code object from '?({re.escape(str(made))}[^'\n]+\.py)'?$", told, re.MULTILINE) == []
            assert re.findall(r"^# wrote .*", told, re.MULTILINE) == []
    assert (listing(made), listing(short_path / "store")) == before


async def test_what_was_compiled_is_whole_and_serves_later_generations(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files)
    store = SnapshotStore(lab.generations)
    disk = installed(short_path / "installed", files.celeryconfig())
    about = application("naps.jobs:app", python=sys.executable)
    for number in (8, 9):
        await store.make(Generation(number, "f", {}, {}, "a test", "tests", 0.0), disk, [], about)
        await store.compile(number)
    names = [f"code/naps/__pycache__/{name}.{sys.implementation.cache_tag}.pyc" for name in ("jobs", "later")]
    for name in names:
        assert (lab.generations / "8" / name).samefile(lab.generations / "9" / name)
        assert (lab.generations / "8" / name).stat().st_mode & 0o777 == 0o444
    entries = list(table.read(lab.generations / "9"))
    assert {*names} < {entry.path for entry in entries}
    assert compiling.sources(entries, [0]) == ["code/naps/template.py"]
    assert [entry.path for entry in entries if entry.path.startswith("etc/")] == ["etc/celeryconfig.py"]  # no password
    assert await store.examine([8, 9]) == frozenset()
    folders = {path for path in (lab.generations / "8/code").rglob("*") if path.is_dir()}
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o555}
    cost = table.cost(lab.generations / "9")
    assert cost is not None
    assert cost.added == 0
    store = SnapshotStore(lab.generations)
    await store.remove(8)
    await store.remove(9)
    assert [path for path in (short_path / "store").rglob("*") if path.is_file()] == []


def _ended(pid: int) -> bool:
    """Nobody may have taken notice of its end yet."""
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "\nState:\tZ" in status.read_text()


async def test_one_that_is_interrupted_leaves_nothing_and_nobody(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files)
    store = SnapshotStore(lab.generations)
    disk = installed(short_path / "installed", files.celeryconfig())
    slow = short_path / "python"
    slow.write_text(f"#!/bin/sh\necho $$ > {short_path}/pid\nexec sleep 600\n")
    slow.chmod(0o755)
    await store.make(Generation(8, "f", {}, {}, "a test", "tests", 0.0), disk, [], application(python=slow))
    task = asyncio.create_task(store.compile(8))
    await asyncio.to_thread(wait, lambda: (short_path / "pid").exists() and bool((short_path / "pid").read_text()))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    pid = int((short_path / "pid").read_text())
    await asyncio.to_thread(wait, lambda: _ended(pid))
    assert {path.name for path in lab.generations.iterdir()} == {"7", "8"}
    assert store.present() >= {8}
