"""What is particular to snapshots on disk: modes, times, links, leftovers, and which names belong to what."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import application
from trapd.errors import SnapshotError
from trapd.generations import filling, manifest, short_lived, table
from trapd.generations.copying import Rights, copy_file, discard
from trapd.generations.order import Order, Tell
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation, TreeFile
from trapd.spec import Application, PoolSpec

APPLICATION = application(smoke_test="trap:smoke")


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    directory = tmp_path / "generations"
    directory.mkdir()
    return SnapshotStore(directory)


def disk_of(home: Path, files: Mapping[str, str]) -> Disk:
    found = []
    for path, text in files.items():
        source = home / "installed" / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text)
        found.append(TreeFile(path, str(source), hashlib.sha256(text.encode()).hexdigest()))
    return Disk(DiskState.SETTLED, fingerprint="f1", versions={"trap": "1.3.0"}, files=tuple(found))


FILES = {"code/trap/__init__.py": "x = 1\n", "etc/celeryconfig.py": "broker_url = 'amqp://trap:secret@host'\n"}


def generation(number: int, reason: str = "a test") -> Generation:
    return Generation(number, "f1", {"trap": "1.3.0"}, {}, reason, "tests", 1_700_000_000.0)


def make(
    store: SnapshotStore,
    home: Path,
    number: int = 7,
    files: Mapping[str, str] = FILES,
    made_for: Application = APPLICATION,
) -> Path:
    asyncio.run(store.make(generation(number), disk_of(home, files), [PoolSpec("default")], made_for))
    return store.directory / str(number)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_snapshot_is_read_only_and_its_celeryconfig_is_not_for_everybody(
    store: SnapshotStore, tmp_path: Path
) -> None:
    made = make(store, tmp_path)
    assert {mode(path) for path in [made, *made.rglob("*")] if path.is_dir()} == {0o555}
    assert mode(made / "code/trap/__init__.py") == 0o444
    assert mode(made / "etc/celeryconfig.py") == 0o440
    assert (made / "etc/celeryconfig.py").stat().st_gid == store.directory.stat().st_gid


def test_a_file_that_its_owner_has_closed_to_others_stays_closed(store: SnapshotStore, tmp_path: Path) -> None:
    """Settings with a password, beside the code of a project."""
    disk = disk_of(tmp_path, {**FILES, "code/trap/secrets.py": "PASSWORD = 'x'\n"})
    (tmp_path / "installed/code/trap/secrets.py").chmod(0o600)
    asyncio.run(store.make(generation(7), disk, [PoolSpec("default")], APPLICATION))
    asyncio.run(store.copy(generation(8), 7, [PoolSpec("default")]))
    for number in ("7", "8"):
        copied = store.directory / number / "code/trap/secrets.py"
        assert (mode(copied), copied.stat().st_gid) == (0o440, store.directory.stat().st_gid)


def test_a_snapshot_whose_interpreter_is_there_has_no_flaw(tmp_path: Path) -> None:
    (tmp_path / "generations").mkdir()
    (tmp_path / "venv/bin").mkdir(parents=True)
    python = tmp_path / "venv/bin/python"
    python.symlink_to("/bin/sh")
    store = SnapshotStore(tmp_path / "generations")
    made = make(store, tmp_path, made_for=application(python=python))
    assert asyncio.run(store.flaw(7)) == ""
    python.unlink()
    assert asyncio.run(store.flaw(7)).startswith(f"its interpreter {python} is gone; ")
    (made / "manifest.json").chmod(0o600)
    (made / "manifest.json").write_text("")
    assert "cannot read" in asyncio.run(store.flaw(7))


def test_a_manifest_is_not_for_everybodys_eyes(store: SnapshotStore, tmp_path: Path) -> None:
    """A pool's environment may hold passwords."""
    make(store, tmp_path)
    asyncio.run(store.copy(generation(8), 7, [PoolSpec("default")]))
    for number in ("7", "8"):
        written = store.directory / number / "manifest.json"
        assert (mode(written), written.stat().st_gid) == (0o440, store.directory.stat().st_gid)


def test_programs_in_a_package_stay_programs(tmp_path: Path) -> None:
    source = tmp_path / "tool"
    source.write_text("#!/bin/sh\n")
    source.chmod(0o755)
    copy_file(str(source), str(tmp_path / "copy"), "", Rights.of(source.stat(), os.getegid()))
    assert mode(tmp_path / "copy") == 0o555


def test_files_keep_their_times_so_that_what_was_compiled_stays_valid(store: SnapshotStore, tmp_path: Path) -> None:
    disk = disk_of(tmp_path, FILES)
    os.utime(next(iter(disk.files)).source, ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))
    asyncio.run(store.make(generation(7), disk, [], APPLICATION))
    assert (store.directory / "7/code/trap/__init__.py").stat().st_mtime_ns == 1_600_000_000_987_654_321


def test_a_snapshot_shares_no_file_with_what_is_installed(store: SnapshotStore, tmp_path: Path) -> None:
    made = make(store, tmp_path)
    disk_file = tmp_path / "installed/code/trap/__init__.py"
    assert disk_file.stat().st_nlink == 1
    assert not disk_file.samefile(made / "code/trap/__init__.py")


def test_a_copy_shares_its_files_with_its_source_and_keeps_what_belongs_to_the_code(
    store: SnapshotStore, tmp_path: Path
) -> None:
    made = make(store, tmp_path)
    asyncio.run(store.copy(generation(9, "undo"), 7, [PoolSpec("gpu")]))
    copied = store.directory / "9"
    assert (copied / "code/trap/__init__.py").samefile(made / "code/trap/__init__.py")
    assert mode(copied / "etc/celeryconfig.py") == 0o440
    about = manifest.read(copied)
    assert (about.number, about.reason, list(about.pools)) == (9, "undo", ["gpu"])
    assert (about.app, about.python, about.smoke_test) == ("trap.app:app", "/venv/bin/python", "trap:smoke")


def test_the_manifest_names_what_is_watched_and_how_to_start(store: SnapshotStore, tmp_path: Path) -> None:
    about = manifest.read(make(store, tmp_path))
    assert about.watched == {"trap": ["trap"]}
    assert (about.fingerprint, about.versions) == ("f1", {"trap": "1.3.0"})
    assert list(about.pools) == ["default"]


def test_an_old_generation_keeps_the_interpreter_of_its_release_after_the_link_is_swapped(
    store: SnapshotStore, tmp_path: Path
) -> None:
    for release in ("1", "2"):
        (tmp_path / release / "bin").mkdir(parents=True)
        (tmp_path / release / "bin/python").symlink_to("/usr/bin/python3")  # as in a virtual environment
    (tmp_path / "current").symlink_to("1")
    made = make(store, tmp_path, made_for=application(python=tmp_path / "current/bin/python"))
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("2")
    assert manifest.read(made).python == str(tmp_path / "1/bin/python")


def test_trapds_worker_part_comes_along(store: SnapshotStore, tmp_path: Path) -> None:
    runtime = make(store, tmp_path) / "runtime"
    assert (runtime / "trapd/worker/__init__.py").is_file()
    assert (runtime / "sdnotify/__init__.py").is_file()
    assert not (runtime / "trapd/model.py").exists()


def test_while_it_is_made_the_store_tells_how_much_is_copied(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def noted(*arguments: Any) -> object:
        told.append(store.making())
        return copy_file(*arguments)

    monkeypatch.setattr(filling, "copy_file", noted)
    make(store, tmp_path, files={"code/trap/__init__.py": "x" * (3 << 20)})
    assert told[0] == (7, 3 << 20)
    assert store.making() is None


def test_a_path_that_leads_out_of_the_snapshot_is_refused(store: SnapshotStore, tmp_path: Path) -> None:
    disk = disk_of(tmp_path, FILES)
    disk = replace(disk, files=(replace(next(iter(disk.files)), path="code/../../../x.py"),))
    with pytest.raises(SnapshotError, match="it would leave the snapshot"):
        asyncio.run(store.make(generation(7), disk, [], APPLICATION))


def test_a_source_that_is_gone_is_named(store: SnapshotStore, tmp_path: Path) -> None:
    disk = disk_of(tmp_path, FILES)
    Path(next(iter(disk.files)).source).unlink()
    with pytest.raises(SnapshotError, match=r"cannot make generation 7: .*__init__\.py: no such file or directory"):
        asyncio.run(store.make(generation(7), disk, [], APPLICATION))
    assert not list(store.directory.iterdir())


def test_leftovers_of_one_who_was_killed_are_removed_and_are_no_snapshots(store: SnapshotStore, tmp_path: Path) -> None:
    make(store, tmp_path)
    for name in (".making-8", ".removing-3"):
        (store.directory / name / "code/trap").mkdir(parents=True)
        (store.directory / name / "code/trap/a.py").touch()
        (store.directory / name / "code/trap").chmod(0o555)
    (store.directory / "12").mkdir()  # no manifest: not one of ours
    again = SnapshotStore(store.directory)
    assert again.present() == {7}
    assert {path.name for path in store.directory.iterdir()} == {"7", "12"}


@pytest.mark.parametrize("times", [1, 1000])
def test_a_leftover_in_which_somebody_still_writes_does_not_keep_trapd_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Whoever compiles for a trapd that was killed sees that before its next file only."""
    left, remove, written = tmp_path / "generations/.compiling-3", shutil.rmtree, 0

    def while_somebody_writes(top: Path) -> None:
        nonlocal written
        remove(top)
        if written < times:
            written += 1
            (top / "code").mkdir(parents=True)
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(top))

    left.mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", while_somebody_writes)
    SnapshotStore(tmp_path / "generations")
    assert written >= 1
    assert left.exists() == (times > 1)


def test_sweeping_leaves_alone_what_is_being_made(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sweep(order: Order, tell: Tell, begun: object) -> None:
        folder = store.directory / ".making-7"
        await asyncio.to_thread(folder.mkdir)
        await store.sweep()
        assert await asyncio.to_thread(folder.is_dir)

    monkeypatch.setattr(short_lived, "run", sweep)
    make(store, tmp_path)


def test_a_snapshot_that_lost_its_content_in_a_power_cut_is_none(
    store: SnapshotStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(store, tmp_path)
    make(store, tmp_path, 8, {**FILES, "code/trap/__init__.py": "x = 2\n"})
    (made / "code/trap/__init__.py").chmod(0o600)
    os.truncate(made / "code/trap/__init__.py", 0)
    again = SnapshotStore(store.directory)
    assert again.present() == {8}
    assert "generation 7 is damaged: code/trap/__init__.py: not as copied" in caplog.text
    assert asyncio.run(again.flaw(7)) == "it is damaged: code/trap/__init__.py: not as copied"


@pytest.mark.parametrize("content", [b"", b"written anew by a worker that runs as root", None])
def test_a_cache_of_another_size_is_dropped_and_the_snapshot_stays(
    content: bytes | None, store: SnapshotStore, tmp_path: Path
) -> None:
    made = make(store, tmp_path)
    cached = made / "code/__pycache__/x.pyc"
    cached.parent.parent.chmod(0o700)
    cached.parent.mkdir()
    if content is not None:
        cached.write_bytes(content)
    known = made / "files.jsonl"
    known.chmod(0o600)
    known.write_text(known.read_text() + json.dumps(["code/__pycache__/x.pyc", "0" * 64, 6]) + "\n")
    again = SnapshotStore(store.directory)
    assert again.present() == {7}
    assert not cached.exists()


def test_there_is_nothing_where_the_directory_is_missing(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "absent")
    assert store.present() == frozenset()
    make(store, tmp_path)
    assert store.present() == {7}


def test_discarding_removes_what_is_read_only_and_does_not_mind_absence(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch(mode=0o400)
    (tmp_path / "a/b").chmod(0o500)
    (tmp_path / "a").chmod(0o500)
    discard(tmp_path / "a")
    discard(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_table_tells_the_content_of_all_but_the_manifest(store: SnapshotStore, tmp_path: Path) -> None:
    made = make(store, tmp_path)
    entries = {entry.path: entry for entry in table.read(made)}
    module = entries["code/trap/__init__.py"]
    assert (module.digest, module.size) == (hashlib.sha256(b"x = 1\n").hexdigest(), 6)
    assert "manifest.json" not in entries
    assert mode(made / table.NAME) == 0o440, "the digest of a secret is for those who may read the secret"
