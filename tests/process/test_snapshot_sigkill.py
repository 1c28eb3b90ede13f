"""S1 and S4 under SIGKILL: a child is killed at chosen system calls while it makes, copies or removes a snapshot."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builders import application
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation, TreeFile

# For each line of its input: an instant and a directory. It forks; the fork counts its own audit events of files (every
# open, mkdir, chmod, rename, ... is one) and kills itself at that event. It answers with how that ended and how many
# events there were.
CHILD = """
import os, signal, sys
from tests.process.test_snapshot_sigkill import operate, store_in
_, operation, source = sys.argv
for line in sys.stdin:
    fatal, directory = int(line.split()[0]), line.split()[1]
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        store, seen = store_in(directory), 0

        def watch(event, arguments):
            global seen
            if event == "open" or event.startswith(("os.", "shutil.", "fcntl.")):
                seen += 1
                if seen == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        operate(operation, store, source)
        os.write(writing, str(seen).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        print(answer.read() or 0, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
PARTS = [0.0, 0.02, 0.2, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995, 1.0]  # of all events; dense at the end


def store_in(directory: str | Path) -> SnapshotStore:
    return SnapshotStore(Path(directory))


def generation(number: int) -> Generation:
    return Generation(number, "f1", {"trap": "1.0"}, {}, "a test", "tests", 0.0)


def disk_at(source: str | Path) -> Disk:
    files = [path for path in sorted(Path(source).rglob("*")) if path.is_file()]
    found = [
        TreeFile(f"{path.relative_to(source)}", str(path), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    ]
    return Disk(DiskState.SETTLED, fingerprint="f1", versions={"trap": "1.0"}, files=tuple(found))


def operate(operation: str, store: SnapshotStore, source: str | Path, number: int = 8) -> None:
    match operation:
        case "make":
            asyncio.run(store.make(generation(number), disk_at(source), [], application()))
        case "copy":
            asyncio.run(store.copy(generation(8), 7, []))
        case "remove":
            asyncio.run(store.remove(7))


class Child:
    """The process that forks those that die."""

    def __init__(self, operation: str, source: Path) -> None:
        command = [sys.executable, "-c", CHILD, operation, str(source)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, directory: Path, fatal: int) -> tuple[int, int]:
        """How many events there were, and how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(fatal, directory, file=self._process.stdin, flush=True)
        seen, status = self._process.stdout.readline().split()
        return int(seen), int(status)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=10)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "installed"
    (source / "code/trap").mkdir(parents=True)
    (source / "etc").mkdir()
    (source / "etc/celeryconfig.py").write_text("x = 1\n")
    for number in range(20):
        (source / f"code/trap/m{number}.py").write_text(f"x = {number}\n" * 100)
    return source


@pytest.mark.parametrize("operation", ["make", "copy", "remove"])
def test_one_who_is_killed_leaves_a_whole_snapshot_or_none(tmp_path: Path, source: Path, operation: str) -> None:
    whole = store_in(tmp_path / "whole")
    operate("make", whole, source)
    expected = content(tmp_path / "whole/8")
    installed = {path: text for path, text in expected.items() if path.startswith(("code/", "etc/"))}
    assert set(installed) == {str(path.relative_to(source)) for path in source.rglob("*.py")}

    def directory(name: str) -> Path:
        operate("make", store_in(tmp_path / name), source, 7)
        return tmp_path / name

    ends = set()
    with Child(operation, source) as child:
        total, status = child.run(directory("all"), 0)
        assert (total > 10, status) == (True, 0)
        for part in PARTS:
            where = directory(f"killed-at-{part}")
            assert child.run(where, max(1, round(part * total))) == (0, -9)
            present = store_in(where).present()
            for number in present:
                found = content(where / str(number))
                assert found.keys() == expected.keys()
                assert {path: found[path] for path in installed} == installed
            assert {path.name for path in where.iterdir()} == {str(number) for number in present}, "leftovers are swept"
            ends.add(present)
    if operation == "remove":
        assert ends == {frozenset({7}), frozenset()}
    else:
        assert all(present >= {7} for present in ends)
        assert frozenset({7}) in ends
