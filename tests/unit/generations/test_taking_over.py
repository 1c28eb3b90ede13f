"""A generation takes over whole folders of the last one, and is as if it had not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import py_compile
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import application
from tests.support.rights import closed
from trapd.content import Environment
from trapd.errors import SnapshotError
from trapd.folders import Copies, Folder, join
from trapd.generations import copying, env, filling, stamps, store, table
from trapd.generations.installed import Contents
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation, TreeFile
from trapd.spec import PoolSpec
from trapd.watch.fingerprint import Hasher
from trapd.watch.tree import walk

SITE = "lib/python3.11/site-packages"
TEXTS = {
    "trap/__init__.py": "x = 1\n",
    "trap/run.py": "run = 1\n",
    "trap/data/__init__.py": "",
    "trap/data/table.csv": "1,2\n",
    "numpy/__init__.py": "y = 1\n",
    "numpy/core/__init__.py": "",
    "numpy/core/sums.so": "machine code",
    "numpy-1.0.dist-info/METADATA": "Name: numpy\n",
    "six.py": "six = 6\n",
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "venv" / SITE
    for name, text in TEXTS.items():
        put(site / name, text)
    py_compile.compile(str(site / "trap/run.py"), doraise=True)
    put(tmp_path / "venv/pyvenv.cfg", "home = /usr/bin\n")
    put(tmp_path / "celeryconfig.py")
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python").symlink_to("/usr/bin/python3")
    return site


@pytest.fixture
def snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SnapshotStore:
    monkeypatch.setattr(stamps, "RACY", -(10**18))  # files are as old as they look
    (tmp_path / "generations").mkdir()
    return SnapshotStore(tmp_path / "generations")


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def looked(site: Path) -> Disk:
    """What a look finds where ``trap`` is watched."""
    hasher = Hasher(racy=0)

    def parts() -> Iterator[tuple[Folder, bytes]]:
        for folder in walk(site / "trap", "trap", compiled=True).files:
            yield replace(folder, path=join("code", folder.path)), hasher.folder(folder).joined

    venv = site.parents[2]
    config = venv.parent / "celeryconfig.py"
    digest = hashlib.sha256(config.read_bytes()).hexdigest()
    environment = Environment(str(venv), "python", {SITE: str(site)}, site=SITE)
    files = Copies(tuple(parts()), (TreeFile("etc/celeryconfig.py", str(config), digest),))
    return Disk(DiskState.SETTLED, fingerprint="f", versions={"trap": "1.0"}, files=files, environment=environment)


def make(snapshots: SnapshotStore, number: int, disk: Disk) -> Path:
    about = Generation(number, "f", {"trap": "1.0"}, {}, "a test", "tests", 1.0)
    asyncio.run(snapshots.make(about, disk, [PoolSpec("default")], application()))
    return snapshots.directory / str(number)


def entries(generation: Path) -> dict[str, tuple[str, int]]:
    return {entry.path: (entry.object, entry.size) for entry in table.read(generation)}


def tree(generation: Path) -> dict[str, object]:
    """What is in its folders, by content and rights."""
    found: dict[str, object] = {}
    for path in generation.rglob("*"):
        name = str(path.relative_to(generation))
        if path.is_symlink():
            found[name] = path.readlink()
        elif name not in (table.NAME, "manifest.json"):
            found[name] = (path.stat().st_mode, path.is_file() and path.read_bytes())
    return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the files that are copied, or linked by way of the store."""
    found = set[str]()
    give, copy = store.Store.give, copying.copy_file

    def giving(self: store.Store, name: str, size: int, target: str) -> bool:
        found.add(target.removesuffix(".another").partition(f"{SITE}/")[2])
        return give(self, name, size, target)

    def copied(source: str, *more: Any) -> object:
        found.add(source.partition(f"{SITE}/")[2])
        return copy(source, *more)

    monkeypatch.setattr(store.Store, "give", giving)
    monkeypatch.setattr(filling, "copy_file", copied)
    return found


def test_only_what_is_in_a_changed_folder_is_work(snapshots: SnapshotStore, site: Path, reads: set[str]) -> None:
    first = make(snapshots, 1, looked(site))
    reads.clear()
    put(site / "trap/data/table.csv", "3,4\n")
    second = make(snapshots, 2, looked(site))
    assert reads - {"", "sdnotify/__init__.py"} == {"six.py", "trap/data/__init__.py", "trap/data/table.csv"}
    assert (second / "env" / SITE / "trap/data/table.csv").read_text() == "3,4\n"
    same = {path for path, entry in entries(first).items() if entries(second)[path] == entry}
    assert entries(first).keys() - same == {f"env/{SITE}/trap/data/table.csv"}
    assert all((first / path).samefile(second / path) for path in same)
    cost, all_bytes = asyncio.run(snapshots.cost(2)), sum(size for _, size in entries(second).values())
    assert cost is not None
    assert (cost.size, cost.added) == (all_bytes, 4)


def changes(site: Path) -> dict[str, Callable[[], object]]:
    def replaced(path: Path, text: str) -> None:
        put(path.with_name("fresh"), text).replace(path)

    return {
        "nothing": lambda: None,
        "written in place, same size": lambda: put(site / "trap/run.py", "run = 2\n"),
        "replaced, same size": lambda: replaced(site / "numpy/core/sums.so", "MACHINE CODE"),
        "a file more": lambda: put(site / "numpy/more.py"),
        "a folder more": lambda: put(site / "numpy/more/__init__.py"),
        "a file less": lambda: (site / "trap/data/table.csv").unlink(),
        "a folder less": lambda: shutil.rmtree(site / "numpy"),
        "renamed": lambda: (site / "numpy/core").rename(site / "numpy/_core"),
        "a program": lambda: (site / "trap/run.py").chmod(0o755),
        "closed to others": lambda: (site / "numpy/__init__.py").chmod(0o640),
        "compiled": lambda: py_compile.compile(str(site / "numpy/__init__.py"), doraise=True),
        "a link": lambda: (site / "numpy/linked.py").symlink_to("__init__.py"),
        "a folder behind a link": lambda: (site / "numpy/linked").symlink_to(site / "trap"),
        "a stash of pip": lambda: put(site / "numpy/~ore/old.py"),
        "a path file": lambda: put(site / "more.pth", "/somewhere\n"),
        "a module on top": lambda: put(site / "six.py", "six = 7\n"),
        "another celeryconfig": lambda: put(site.parents[3] / "celeryconfig.py", "x = 1\n"),
    }


@pytest.mark.parametrize("linked", [False, True], ids=["", "linked ahead"])
@pytest.mark.parametrize("what", changes(Path()))
def test_it_is_as_if_all_had_been_copied(snapshots: SnapshotStore, site: Path, what: str, *, linked: bool) -> None:
    make(snapshots, 1, looked(site))
    assert not linked or asyncio.run(snapshots.link_ahead())
    changes(site)[what]()
    disk = looked(site)
    mine = make(snapshots, 2, disk)
    assert not linked or asyncio.run(snapshots.link_ahead())
    again = make(snapshots, 3, disk)  # from 2
    (snapshots.directory.parent / "stamps.jsonl").unlink()
    other = make(snapshots, 4, disk)
    assert entries(mine) == entries(again) == entries(other)
    assert tree(mine) == tree(again) == tree(other)


def test_what_the_generation_has_lost_comes_from_elsewhere(snapshots: SnapshotStore, site: Path) -> None:
    """One file is gone there, another one is cut short, which all that link to it share, and a third is nowhere."""
    first = make(snapshots, 1, looked(site)) / "env" / SITE
    whole = entries(first.parents[3])
    for path in (first / "trap", first / "numpy/core"):
        path.chmod(0o755)
    (first / "trap/run.py").unlink()
    (first / "numpy/core/sums.so").chmod(0o644)
    (first / "numpy/core/sums.so").write_text("mach")
    second = make(snapshots, 2, looked(site))
    assert entries(second) == whole
    assert {path: (second / path).stat().st_size for path in whole} == {path: size for path, (_, size) in whole.items()}


def test_after_damage_was_seen_all_is_looked_up_again(snapshots: SnapshotStore, site: Path) -> None:
    """All generations that have the file share the damage; one of the same size shows in no comparison of sizes."""
    damaged = make(snapshots, 1, looked(site)) / "env" / SITE / "numpy/core/sums.so"
    make(snapshots, 2, looked(site))
    damaged.chmod(0o644)
    damaged.write_text("MACHINE CODE")
    asyncio.run(snapshots.examine([1]))
    assert (make(snapshots, 3, looked(site)) / "env" / SITE / "numpy/core/sums.so").read_text() == "machine code"


def test_where_there_can_be_no_more_links_there_are_copies(
    snapshots: SnapshotStore, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(snapshots, 1, looked(site))

    def link(*_: object, **__: object) -> None:
        raise OSError(31, "Too many links")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", link)
        second = make(snapshots, 2, looked(site))
    assert entries(first) == entries(second)
    assert tree(first) == tree(second)
    assert not (first / "env" / SITE / "trap/run.py").samefile(second / "env" / SITE / "trap/run.py")


@pytest.mark.parametrize("racy", [10**18, -(10**18)])
def test_a_change_while_it_is_made_is_seen_unless_all_that_is_copied_is_older(
    snapshots: SnapshotStore, site: Path, monkeypatch: pytest.MonkeyPatch, racy: int
) -> None:
    """What is as it was is as it was at one moment. If something else is younger than that, it may not fit to it."""
    make(snapshots, 1, looked(site))
    put(site / "trap/data/table.csv", "3,4\n")
    disk, link = looked(site), env.link

    def change(snapshot: Path, found: Contents) -> None:
        link(snapshot, found)
        put(site / "numpy/__init__.py", "y = 2\n")

    monkeypatch.setattr(env, "link", change)
    monkeypatch.setattr(stamps, "RACY", racy)
    if racy > 0:
        with pytest.raises(SnapshotError, match="numpy: it has changed since it was looked at"):
            make(snapshots, 2, disk)
    else:
        assert (make(snapshots, 2, disk) / "env" / SITE / "numpy/__init__.py").read_text() == "y = 1\n"


def test_what_could_not_be_read_is_remembered_until_it_can(snapshots: SnapshotStore, site: Path) -> None:
    """Of copies too, and by the next trapd."""
    make(snapshots, 1, looked(site))
    with closed(site / "six.py"):
        assert not (make(snapshots, 2, looked(site)) / "env" / SITE / "six.py").exists()
    asyncio.run(snapshots.copy(Generation(3, "f", {"trap": "1.0"}, {}, "a test", "tests", 1.0), 2, []))
    make(snapshots, 4, looked(site))
    left = [[], [str(site / "six.py")], [str(site / "six.py")], []]
    for some in (snapshots, SnapshotStore(snapshots.directory)):
        assert [list(some.left_out(number)) for number in (1, 2, 3, 4)] == left
