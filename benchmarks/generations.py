"""Ten generations of an environment: what each adds to the disk, and how long it takes.

``python -m benchmarks.generations [SITE-PACKAGES]``: of this interpreter's, where none is named. The second generation
is the first again, as after a recycle, the last goes back to it, and each of the others has other modules.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trapd.generations.copying import discard
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation, TreeFile
from trapd.sizes import amount
from trapd.spec import Application

GENERATIONS = 10
CHANGED = 100  # modules that an upgrade changes


def files(site: Path) -> Iterator[TreeFile]:
    for folder, _, names in os.walk(site):
        for path in (Path(folder, name) for name in names):
            digest = "" if path.suffix == ".pyc" else _digest(path)
            yield TreeFile(f"code/{path.relative_to(site)}", str(path), digest)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def upgraded(found: tuple[TreeFile, ...], place: Path, number: int) -> tuple[TreeFile, ...]:
    """Some modules have another content, and no compiled file that fits."""
    modules = [file for file in found if file.path.endswith(".py") and file.digest][:CHANGED]
    fresh = {}
    for index, file in enumerate(modules):
        path = place / f"{number}-{index}.py"
        path.write_bytes(Path(file.source).read_bytes() + f"\n# {number}\n".encode())
        fresh[file.path] = TreeFile(file.path, str(path), _digest(path))
    return tuple(fresh.get(file.path, file) for file in found)


async def make(store: SnapshotStore, number: int, disk: Disk) -> str:
    began, before = time.monotonic(), _cpu()
    about = Application("app:app", "/celeryconfig.py", sys.executable)
    await store.make(Generation(number, "", {}, {}, "", "", 0.0), disk, [], about)
    took, cpu = time.monotonic() - began, _cpu() - before
    cost = await store.cost(number)
    assert cost is not None
    return f"{amount(cost.size):>6} {amount(cost.added):>6} {took:8.2f} s {cpu:8.2f} s"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    site = Path(sys.argv[1] if sys.argv[1:] else sysconfig.get_path("purelib"))
    found = tuple(files(site))
    print(f"{len(found)} files of {site}")
    print("generation        size  added      took        CPU")
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_DIRECTORY")) as home:
        generations = Path(home, "generations")
        generations.mkdir()
        store = SnapshotStore(generations)
        disk = Disk(DiskState.SETTLED, files=found)
        for number in range(1, GENERATIONS + 1):
            same = number in (1, 2, GENERATIONS)
            what = {1: "the first", 2: "unchanged", GENERATIONS: "back again"}.get(number, f"{CHANGED} modules")
            changed = disk if same else replace(disk, files=upgraded(found, Path(home), number))
            print(f"{number:2} {what:14}", asyncio.run(make(store, number, changed)), flush=True)
        began = time.monotonic()
        SnapshotStore(generations)
        print(f"trapd's start compares the sizes of all in {time.monotonic() - began:.2f} s")
        began = time.monotonic()
        asyncio.run(store.examine(store.present()))
        print(f"comparing the content of all takes {time.monotonic() - began:.2f} s")
        print(f"on the disk: {amount(_used(Path(home)))}")
        discard(generations)


def _used(home: Path) -> int:
    """Bytes, each file once."""
    seen = {(found.st_ino, found.st_blocks) for path in home.rglob("*") if (found := path.lstat())}
    return sum(blocks for _, blocks in seen) * 512


if __name__ == "__main__":
    main()
