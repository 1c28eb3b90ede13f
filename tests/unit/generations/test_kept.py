"""A snapshot that somebody wrote into is never removed."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.support.builders import application
from tests.unit.generations.test_snapshot import FILES, make
from trapd.generations.snapshot import SnapshotStore


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return open_store(tmp_path)


def open_store(home: Path) -> SnapshotStore:
    (home / "generations").mkdir(exist_ok=True)
    return SnapshotStore(home / "generations")


def write(snapshot: Path, name: str, text: str = "the only copy") -> None:
    """As root does it, whatever the modes say."""
    path = snapshot / name
    for folder in (snapshot, snapshot / "code", snapshot / "code/trap"):
        folder.chmod(0o755)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.chmod(0o644)
    path.write_text(text)


@pytest.mark.parametrize("name", ["code/media/1.txt", "code/trap/more.py", "media.txt", "code/trap/__init__.py"])
def test_a_file_that_a_snapshot_did_not_have_is_kept(store: SnapshotStore, tmp_path: Path, name: str) -> None:
    write(make(store, tmp_path), name)
    asyncio.run(store.remove(7))
    assert (tmp_path / "kept/7" / name).read_text() == "the only copy"
    assert store.present() == frozenset()
    [trouble] = store.troubles()
    assert trouble == (
        f"cannot remove generation 7: something wrote 1 file into it ({name}); "
        f"take out of {tmp_path}/kept/7 what you need, and remove it"
    )


def test_a_trouble_outlives_trapd_and_ends_with_its_folder(store: SnapshotStore, tmp_path: Path) -> None:
    write(make(store, tmp_path), "media.txt")
    asyncio.run(store.remove(7))
    again = open_store(tmp_path)
    assert again.troubles() == store.troubles() != []
    shutil.rmtree(tmp_path / "kept/7")
    assert again.troubles() == store.troubles() == []


def test_two_snapshots_of_one_number_are_both_kept(tmp_path: Path) -> None:
    for _ in range(2):
        store = open_store(tmp_path)
        write(make(store, tmp_path), "media.txt")
        asyncio.run(store.remove(7))
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["7", "7-2"]
    assert len(open_store(tmp_path).troubles()) == 2


def test_what_python_compiled_is_no_reason_to_keep_a_snapshot(store: SnapshotStore, tmp_path: Path) -> None:
    write(make(store, tmp_path), "code/trap/__pycache__/__init__.cpython-311.pyc")
    asyncio.run(store.remove(7))
    assert not (tmp_path / "kept").exists()
    assert not (tmp_path / "generations/7").exists()


def test_links_of_a_mirrored_project_are_no_reason_either(store: SnapshotStore, tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.unit.generations.test_snapshot import disk_of, generation

    site = tmp_path / "site"
    (site / "media").mkdir(parents=True)
    disk = replace(disk_of(tmp_path, {**FILES, f"tree{site}/proj.py": "x = 1\n"}), roots=(str(site),))
    asyncio.run(store.make(generation(7), disk, [], application()))
    assert (tmp_path / f"generations/7/tree{site}/media").is_symlink()
    (site / "media/1.txt").write_text("the only copy")
    asyncio.run(store.copy(generation(8), 7, []))
    assert (tmp_path / f"generations/8/tree{site}/media").is_symlink()
    for number in (7, 8):
        asyncio.run(store.remove(number))
    assert not (tmp_path / "kept").exists()
    assert (site / "media/1.txt").read_text() == "the only copy"


def test_whoever_runs_as_another_user_than_root_can_keep_one_too(short_path: Path) -> None:
    """To move a folder elsewhere takes the right to write in it, which nobody has in a snapshot."""
    nobody, root = 65534, os.geteuid()
    if root:
        pytest.skip("only root can be somebody else")
    store = open_store(short_path)
    write(make(store, short_path), "media.txt")
    (short_path / "generations/7").chmod(0o555)
    for path in [short_path, *short_path.rglob("*")]:
        os.chown(path, nobody, nobody, follow_symlinks=False)
    os.seteuid(nobody)
    try:
        asyncio.run(store.remove(7))
        assert (short_path / "kept/7/media.txt").read_text() == "the only copy"
    finally:
        os.seteuid(root)
