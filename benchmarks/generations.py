"""Ten generations of a virtual environment: what each adds to the disk, and how long it takes.

``python -m benchmarks.generations [--python PYTHON --watch DISTRIBUTION]``: of a copy of the environment that has this
interpreter; by default of a new one that has Celery alone. As trapd makes them: the watch's look tells what is
installed, a process of its own makes each generation with its ``env``, and once workers run on it, what is missing is
compiled, and what the next generation takes over is linked ahead. The second generation is the first again, as after a
recycle, the last goes back to it, and before each of the others some modules get another content.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support import environments
from tests.support.looks import look
from tests.support.sample import CELERY
from tests.support.site_packages import make_old
from trapd.file_stamp import RACY
from trapd.generations.copying import discard
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, Generation
from trapd.sizes import amount
from trapd.spec import Application

GENERATIONS = 10
CHANGED = 100  # modules that an upgrade changes
HEAD = "generation        size  added      took        CPU      later"


class Installed:
    """A copy of an environment, whose modules can be changed and put back."""

    def __init__(self, original: Path, folder: Path) -> None:
        subprocess.run(["cp", "-a", str(original), str(folder)], check=True)
        self.python = folder / "bin/python"
        self.site = next(folder.glob("lib/python3*/site-packages"))
        modules = sorted(path for path in self.site.rglob("*.py") if path.is_file())
        self._first = {path: path.read_bytes() for path in modules[:: max(1, len(modules) // CHANGED)][:CHANGED]}

    def change(self, disk: Disk, more: str = "") -> Disk:
        """Some modules have their first content, and some more; what a look then finds."""
        digests = dict[str, str]()
        for path, first in self._first.items():
            content = first + more.encode()
            _replace(path, content)
            digests[str(path)] = hashlib.sha256(content).hexdigest()
        return replace(disk, files=tuple(replace(f, digest=digests.get(f.source, f.digest)) for f in disk.files))


def _replace(path: Path, content: bytes) -> None:
    """As an installer does. A compiled file that does not fit stays behind, as uv leaves it."""
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(content)
    fresh.replace(path)


@dataclass
class Spent:
    """Seconds, and processor seconds of trapd's part and of the processes that did the work."""

    took: float
    cpu: float


async def spent(work: Awaitable[object]) -> Spent:
    began, before = time.monotonic(), _cpu()
    await work
    return Spent(time.monotonic() - began, _cpu() - before)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


async def make(store: SnapshotStore, number: int, disk: Disk, about: Application) -> str:
    made = await spent(store.make(Generation(number, "", {}, {}, "", "", 0.0), disk, [], about))
    cost = await store.cost(number)
    assert cost is not None
    assert (store.directory / f"{number}/env/bin/python").exists()
    later = await spent(_afterwards(store, number))
    return f"{amount(cost.size):>6} {amount(cost.added):>6} {made.took:8.2f} s {made.cpu:8.2f} s {later.cpu:8.2f} s"


async def _afterwards(store: SnapshotStore, number: int) -> None:
    await store.compile(number)
    await store.link_ahead()


def run(home: Path, installed: Installed, watched: str) -> None:
    celeryconfig, generations = home / "celeryconfig.py", home / "state/generations"
    celeryconfig.write_text("broker_url = 'memory://'\n")
    make_old(celeryconfig)
    generations.mkdir(parents=True)
    disk = look(installed.python, celeryconfig, "environment", distributions=[watched])
    print(f"{sum(len(names) for *_, names in os.walk(installed.site))} files of {installed.site}")
    print(HEAD)
    store, about = SnapshotStore(generations), Application("app:app", str(celeryconfig), str(installed.python))
    for number in range(1, GENERATIONS + 1):
        what = {1: "the first", 2: "unchanged", GENERATIONS: "back again"}.get(number, f"{CHANGED} modules")
        if number > 2:
            disk = installed.change(disk, "" if number == GENERATIONS else f"\n# {number}\n")
        subprocess.run(["sync"], check=True)
        time.sleep(2 * RACY / 1e9)  # what has just been written is read again next time
        print(f"{number:2} {what:14}", asyncio.run(make(store, number, disk, about)), flush=True)
    began = time.monotonic()
    store = SnapshotStore(generations)
    print(f"trapd's start compares the sizes of all in {time.monotonic() - began:.2f} s")
    compared = asyncio.run(spent(store.examine(store.present())))
    print(f"comparing the content of all takes {compared.took:.2f} s, CPU {compared.cpu:.2f} s")
    print(f"on the disk: {amount(_used(home / 'state'))}")
    discard(generations)


def _used(home: Path) -> int:
    """Bytes, each file once."""
    seen = {(found.st_ino, found.st_blocks) for path in home.rglob("*") if (found := path.lstat())}
    return sum(blocks for _, blocks in seen) * 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="an interpreter whose virtual environment is copied")
    parser.add_argument("--watch", default="celery", help="a distribution that it has, as trapd watches it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="td", dir=os.environ.get("BENCHMARK_DIRECTORY")) as name:
        home = Path(name).resolve()
        python = options.python.absolute() if options.python else environments.make(home / "new", CELERY)
        run(home, Installed(python.parent.parent, home / "venv"), options.watch)


if __name__ == "__main__":
    main()
