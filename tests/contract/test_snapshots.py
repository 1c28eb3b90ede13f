"""The promises of contracts.Snapshots on every implementation."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import application
from tests.support.fake_snapshots import FakeSnapshots
from trapd.content import Environment
from trapd.contracts import Snapshots
from trapd.errors import SnapshotError
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation, TreeFile
from trapd.spec import PoolSpec

POOLS = [PoolSpec("default")]
FILES = {"code/trap/__init__.py": "x = 1\n", "code/trap/sub/run.py": "y = 2\n", "etc/celeryconfig.py": "z = 3\n"}
UNCOUNTED = "code/trap/README.md"


class Installed:
    """Installed files that can be changed under a snapshot, and the snapshots made of them."""

    def __init__(self, home: Path) -> None:
        self.source, self.in_environment = home / "installed", False
        for path, text in {**FILES, UNCOUNTED: "prose"}.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        (self.source / path).parent.mkdir(parents=True, exist_ok=True)
        (self.source / path).write_text(text)

    def disk(self) -> Disk:
        files = [
            TreeFile(path, str(self.source / path), hashlib.sha256((self.source / path).read_bytes()).hexdigest())
            for path in FILES
        ]
        files.append(TreeFile(UNCOUNTED, str(self.source / UNCOUNTED), ""))
        disk = Disk(DiskState.SETTLED, fingerprint="f1", versions={"trap": "1.3.0"}, files=tuple(files))
        if not self.in_environment:
            return disk
        (self.source / "bin").mkdir(exist_ok=True)
        return replace(disk, environment=Environment(str(self.source), "python", {"site": str(self.source / "code")}))


class Store:
    """The real one, and how to read what it keeps."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "generations"
        self.directory.mkdir()
        self.snapshots: Snapshots = SnapshotStore(self.directory)
        self.flaw = "its interpreter /venv/bin/python is gone; make it again, or install the code that you want"

    def read(self, number: int, path: str) -> str:
        return (self.directory / str(number) / path).read_text()

    def traces(self) -> list[str]:
        """What lies about that is no complete snapshot."""
        complete = {str(number) for number in self.snapshots.present()}
        return [path.name for path in self.directory.iterdir() if path.name not in complete]

    def harm(self, number: int, path: str) -> None:
        """Behind our back, with the size and the time that it had."""
        file = self.directory / str(number) / path
        status = file.stat()
        file.chmod(0o600)
        file.write_bytes(b"?" * status.st_size)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


class Fake:
    """The fake one."""

    def __init__(self, home: Path) -> None:
        self.snapshots = FakeSnapshots(read=lambda source: Path(source).read_bytes())
        self.flaw = ""

    def read(self, number: int, path: str) -> str:
        return self.snapshots.kept[number][path].decode()

    def traces(self) -> list[str]:
        return []

    def harm(self, number: int, path: str) -> None:
        self.snapshots.harmed[number] = f"{path}: not as copied"


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


@pytest.fixture(params=[Store, Fake])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Store | Fake:
    made: Store | Fake = request.param(tmp_path)
    return made


def generation(number: int) -> Generation:
    return Generation(number, "f1", {"trap": "1.3.0"}, {}, "a test", "tests", 1_700_000_000.0)


def run(*steps: Coroutine[Any, Any, None]) -> None:
    """All of them, one after the other, up to one that fails."""

    async def main() -> None:
        for step in steps:
            await step

    try:
        asyncio.run(main())
    finally:
        for step in steps:
            step.close()


def test_s1_after_make_the_whole_snapshot_is_there(kept: Store | Fake, installed: Installed) -> None:
    assert kept.snapshots.present() == frozenset()
    run(kept.snapshots.make(generation(7), installed.disk(), POOLS, application()))
    assert kept.snapshots.present() == {7}
    assert {path: kept.read(7, path) for path in FILES} == FILES
    assert kept.read(7, UNCOUNTED) == "prose"


def test_s1_after_copy_the_whole_snapshot_is_there_under_both_numbers(kept: Store | Fake, installed: Installed) -> None:
    run(
        kept.snapshots.make(generation(7), installed.disk(), POOLS, application()),
        kept.snapshots.copy(generation(9), 7, POOLS),
    )
    assert kept.snapshots.present() == {7, 9}
    assert {path: kept.read(9, path) for path in FILES} == FILES


def test_s1_a_copy_outlives_what_it_was_copied_from(kept: Store | Fake, installed: Installed) -> None:
    run(
        kept.snapshots.make(generation(7), installed.disk(), POOLS, application()),
        kept.snapshots.copy(generation(9), 7, POOLS),
        kept.snapshots.remove(7),
    )
    assert {path: kept.read(9, path) for path in FILES} == FILES


def test_s1_copying_what_is_not_there_leaves_nothing(kept: Store | Fake) -> None:
    with pytest.raises(SnapshotError, match="cannot copy generation 7: it has no snapshot"):
        run(kept.snapshots.copy(generation(9), 7, POOLS))
    assert kept.snapshots.present() == frozenset()
    assert kept.traces() == []


def test_s1_a_number_is_given_once(kept: Store | Fake, installed: Installed) -> None:
    run(kept.snapshots.make(generation(7), installed.disk(), POOLS, application()))
    installed.write("code/trap/__init__.py", "x = 9\n")
    with pytest.raises(SnapshotError, match="cannot make generation 7"):
        run(kept.snapshots.make(generation(7), installed.disk(), POOLS, application()))
    assert kept.read(7, "code/trap/__init__.py") == "x = 1\n"


@pytest.mark.parametrize("path", FILES)
def test_s2_a_file_that_changed_since_it_was_seen_makes_no_snapshot(
    kept: Store | Fake, installed: Installed, path: str
) -> None:
    seen = installed.disk()
    installed.write(path, "changed\n")
    with pytest.raises(SnapshotError, match="has changed since it was looked at"):
        run(kept.snapshots.make(generation(7), seen, POOLS, application()))
    assert kept.snapshots.present() == frozenset()
    assert kept.traces() == []
    run(kept.snapshots.make(generation(7), installed.disk(), POOLS, application()))
    assert kept.read(7, path) == "changed\n"


def test_s2_files_that_may_change_freely_do_not_hinder(kept: Store | Fake, installed: Installed) -> None:
    seen = installed.disk()
    installed.write(UNCOUNTED, "written again")
    run(kept.snapshots.make(generation(7), seen, POOLS, application()))
    assert kept.read(7, UNCOUNTED) == "written again"


def overwrite(path: Path) -> None:
    with path.open("r+") as file:
        file.write("z")


@pytest.mark.parametrize("harm", [overwrite, Path.unlink], ids=["overwritten in place", "removed"])
def test_s3_a_snapshot_never_changes_whatever_happens_to_what_is_installed(
    kept: Store | Fake, installed: Installed, harm: Callable[[Path], None]
) -> None:
    run(
        kept.snapshots.make(generation(7), installed.disk(), POOLS, application()),
        kept.snapshots.copy(generation(8), 7, POOLS),
    )
    for path in FILES:
        harm(installed.source / path)
    for number in (7, 8):
        assert {path: kept.read(number, path) for path in FILES} == FILES


def test_s4_what_is_removed_is_gone_whole_and_the_others_stay(kept: Store | Fake, installed: Installed) -> None:
    for number in (7, 8):
        run(kept.snapshots.make(generation(number), installed.disk(), POOLS, application()))
    run(kept.snapshots.remove(7))
    assert kept.snapshots.present() == {8}
    assert kept.traces() == []
    assert {path: kept.read(8, path) for path in FILES} == FILES


def test_s4_removing_an_absent_one_does_nothing(kept: Store | Fake) -> None:
    run(kept.snapshots.remove(7), kept.snapshots.remove(7))
    assert kept.snapshots.present() == frozenset()


def test_s5_what_no_worker_could_start_from_says_why(kept: Store | Fake, installed: Installed, tmp_path: Path) -> None:
    async def flaws() -> None:
        await kept.snapshots.make(generation(7), installed.disk(), POOLS, application())
        flaw = await kept.snapshots.flaw(7)
        assert flaw == kept.flaw
        assert await kept.snapshots.flaw(8) != ""

    run(flaws())


HARMED = "code/trap/sub/run.py"


def test_s6_one_that_is_damaged_is_present_no_more_and_the_others_are(kept: Store | Fake, installed: Installed) -> None:
    async def examine() -> None:
        await kept.snapshots.make(generation(7), installed.disk(), POOLS, application())
        installed.write(HARMED, "other\n")
        await kept.snapshots.make(generation(8), installed.disk(), POOLS, application())
        assert await kept.snapshots.examine([7, 8]) == frozenset()
        kept.harm(7, HARMED)
        assert await kept.snapshots.examine([7, 8]) == {7}
        assert kept.snapshots.present() == {8}
        assert kept.snapshots.damaged() == {7: f"{HARMED}: not as copied"}
        await kept.snapshots.remove(7)
        assert kept.snapshots.damaged() == {}

    run(examine())


def test_s6_one_that_is_damaged_is_not_copied_and_spoils_no_other(kept: Store | Fake, installed: Installed) -> None:
    run(kept.snapshots.make(generation(7), installed.disk(), POOLS, application()))
    kept.harm(7, HARMED)
    with pytest.raises(SnapshotError, match=f"cannot copy generation 7: it is damaged: {HARMED}: not as copied"):
        run(kept.snapshots.copy(generation(8), 7, POOLS))
    assert kept.snapshots.present() == frozenset()
    run(kept.snapshots.make(generation(8), installed.disk(), POOLS, application()))
    assert kept.read(8, HARMED) == FILES[HARMED]


def test_s7_compiling_changes_no_file(kept: Store | Fake, installed: Installed) -> None:
    run(kept.snapshots.make(generation(7), installed.disk(), POOLS, application(python=sys.executable)))
    run(kept.snapshots.compile(7), kept.snapshots.compile(8))
    assert {path: kept.read(7, path) for path in FILES} == FILES
    assert kept.snapshots.present() == {7}
    assert kept.traces() == []


def test_s8_linking_ahead_changes_no_snapshot_and_the_next_one_is_as_it_would_be(
    kept: Store | Fake, installed: Installed
) -> None:
    async def check() -> None:
        snapshots = kept.snapshots
        assert await snapshots.link_ahead(), "there is none yet"
        await snapshots.make(generation(7), installed.disk(), POOLS, application())
        assert await snapshots.link_ahead()
        assert snapshots.present() == {7}
        installed.write(HARMED, "other\n")
        await snapshots.make(generation(8), installed.disk(), POOLS, application())
        assert snapshots.present() == {7, 8}
        assert await snapshots.link_ahead()
        await snapshots.copy(generation(9), 7, POOLS)
        await snapshots.remove(8)
        assert snapshots.present() == {7, 9}

    installed.in_environment = True
    run(check())
    for number in (7, 9):
        assert {path: kept.read(number, path) for path in FILES} == FILES
    assert kept.traces() == []


def test_s9_what_is_expected_changes_no_snapshot_whether_it_comes_or_not(
    kept: Store | Fake, installed: Installed
) -> None:
    async def check() -> None:
        snapshots = kept.snapshots
        for expected in (True, True, False, False, True):
            await snapshots.expect(make=expected)
        assert await snapshots.link_ahead()
        await snapshots.make(generation(7), installed.disk(), POOLS, application())
        await snapshots.expect(make=True)
        await snapshots.copy(generation(8), 7, POOLS)
        await snapshots.remove(7)
        await snapshots.make(generation(9), installed.disk(), POOLS, application())
        await snapshots.expect(make=False)
        assert snapshots.present() == {8, 9}

    run(check())
    for number in (8, 9):
        assert {path: kept.read(number, path) for path in FILES} == FILES
    assert kept.traces() == []


def test_s8_what_is_linked_ahead_never_changes_with_what_is_installed(kept: Store | Fake, installed: Installed) -> None:
    """S2 and S3, of files that are taken over."""

    async def check() -> None:
        await kept.snapshots.make(generation(7), installed.disk(), POOLS, application())
        assert await kept.snapshots.link_ahead()
        seen = installed.disk()
        installed.write(HARMED, "changed\n")
        with pytest.raises(SnapshotError, match="has changed since it was looked at"):
            await kept.snapshots.make(generation(8), seen, POOLS, application())
        assert kept.snapshots.present() == {7}

    installed.in_environment = True
    run(check())
    assert kept.traces() == []
    assert {path: kept.read(7, path) for path in FILES} == FILES


def test_the_fake_fails_when_it_is_told_to(installed: Installed) -> None:
    snapshots = FakeSnapshots()
    snapshots.failure = SnapshotError("no space left")
    with pytest.raises(SnapshotError, match="no space left"):
        run(snapshots.make(generation(7), installed.disk(), POOLS, application()))
    assert snapshots.present() == frozenset()
    snapshots.failure = None
    run(snapshots.make(generation(7), installed.disk(), POOLS, application()))
    assert snapshots.present() == {7}
