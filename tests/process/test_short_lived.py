"""The process that makes a generation, and what becomes of it if somebody is killed. A file that comes to no end, a
FIFO, keeps it at work meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.builders import application
from trapd.content import Environment
from trapd.errors import SnapshotError
from trapd.generations import short_lived
from trapd.generations.order import Order
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation, TreeFile

MAKE = "import sys; from tests.process.test_short_lived import make; make(sys.argv[1])"


def store_at(home: Path) -> SnapshotStore:
    (home / "generations").mkdir(exist_ok=True)
    return SnapshotStore(home / "generations")


async def making(store: SnapshotStore, source: Path, environment: Environment | None = None) -> None:
    disk = Disk(DiskState.SETTLED, files=(TreeFile("code/x.py", str(source), ""),), environment=environment)
    await store.make(Generation(7, "f", {}, {}, "a test", "tests", 0.0), disk, [], application())


def make(home: str) -> None:
    asyncio.run(making(store_at(Path(home)), Path(home, "fifo")))


def child_at_work(home: Path, parent: int, file: str = ".making-7/code") -> int:
    """Wait until it has come so far; returns its process id."""
    limit = time.monotonic() + 20
    while not (home / "generations" / file).exists():
        assert time.monotonic() < limit, "the process never came so far"
        time.sleep(0.01)
    tasks = Path(f"/proc/{parent}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    [maker] = [pid for pid in children if b"trapd.generations.maker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return maker


def gone(pid: int) -> bool:
    limit = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def home(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def test_one_that_is_killed_leaves_nothing_and_the_next_one_makes_it(home: Path) -> None:
    store = store_at(home)

    async def kill() -> None:
        task = asyncio.create_task(making(store, home / "fifo"))
        pid = await asyncio.to_thread(child_at_work, home, os.getpid())
        assert store.making() is not None
        os.kill(pid, signal.SIGKILL)
        await task

    with pytest.raises(SnapshotError, match="cannot make generation 7: its process was killed; was there too little"):
        asyncio.run(kill())
    assert store.making() is None
    assert not list(store.directory.iterdir())
    (home / "file").write_text("x = 1\n")
    asyncio.run(making(store, home / "file"))
    assert store.present() == {7}


@pytest.mark.parametrize("damaged", [False, True])
def test_one_that_is_killed_after_its_last_step_has_made_it(home: Path, *, damaged: bool) -> None:
    """The rename is the last step that counts. What it remembers for the next generation it writes into a FIFO here."""
    os.mkfifo(home / ".stamps.jsonl.new")
    source = home / "code.py"
    source.write_text("x = 1\n")
    environment = Environment(str(home / "venv"), "python", {"site": str(home / "venv/site")}, site="site")
    (home / "venv/site").mkdir(parents=True)
    (home / "venv/bin").mkdir()
    store = store_at(home)

    async def kill() -> None:
        task = asyncio.create_task(making(store, source, environment))
        pid = await asyncio.to_thread(child_at_work, home, os.getpid(), "7/manifest.json")
        if damaged:
            (home / "generations/7/code/x.py").unlink()
        os.kill(pid, signal.SIGKILL)
        await task

    if damaged:
        with pytest.raises(SnapshotError, match="its process was killed"):
            asyncio.run(kill())
    else:
        asyncio.run(kill())
    assert store.present() == (frozenset() if damaged else {7})


def test_one_whose_work_nobody_wants_any_more_ends_at_once(home: Path) -> None:
    store = store_at(home)

    async def cancel() -> int:
        task = asyncio.create_task(making(store, home / "fifo"))
        pid = await asyncio.to_thread(child_at_work, home, os.getpid())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert gone(asyncio.run(cancel()))
    assert not list(store.directory.iterdir())


def test_one_that_is_cancelled_at_any_moment_leaves_no_descriptor(home: Path) -> None:
    """The first moments are those in which the process is begun, and in which a thread tells it what to do."""
    order = Order("examine", str(home), frozenset(), ([],), "examine")

    async def cancel() -> tuple[set[Path], set[Path]]:
        await short_lived.run(order, lambda needed: None)  # the loop opens what it keeps
        before = set(Path("/proc/self/fd").iterdir())
        for turns in range(10):
            task = asyncio.create_task(short_lived.run(order, lambda needed: None))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return before, set(Path("/proc/self/fd").iterdir())

    before, after = asyncio.run(cancel())
    assert len(after) == len(before), after - before


@pytest.mark.parametrize("killed", [False, True])
def test_one_that_was_begun_before_makes_it(home: Path, *, killed: bool) -> None:
    store = store_at(home)
    (home / "file").write_text("x = 1\n")

    async def expect() -> bool:
        await store.expect(make=True)
        waiting = store._begun
        assert waiting is not None
        if killed:
            waiting.process.kill()
            await waiting.process.wait()
        await making(store, home / "file")
        return waiting.process.returncode == 0

    assert asyncio.run(expect()) is not killed
    assert store.present() == {7}


def test_one_that_waits_for_an_order_ends_with_trapd(home: Path) -> None:
    script = "import sys; from tests.process.test_short_lived import wait; wait(sys.argv[1])"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script, str(home)], stdout=pipe, stderr=pipe) as trapd:
        assert trapd.stdout is not None
        assert trapd.stderr is not None
        pid = int(trapd.stdout.readline())
        trapd.kill()
        assert gone(pid)
        assert trapd.stderr.read() == b"", "it has nothing to say"


def wait(home: str) -> None:
    async def forever() -> None:
        store = store_at(Path(home))
        await store.expect(make=True)
        assert store._begun is not None
        print(store._begun.process.pid, flush=True)
        await asyncio.sleep(600)

    asyncio.run(forever())


def test_it_ends_with_trapd(home: Path) -> None:
    trapd = subprocess.Popen([sys.executable, "-c", MAKE, str(home)])
    try:
        pid = child_at_work(home, trapd.pid)
    finally:
        trapd.kill()
        trapd.wait()
    assert gone(pid)
    assert store_at(home).present() == frozenset()
    assert not list((home / "generations").iterdir())
