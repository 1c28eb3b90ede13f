"""Generations share what they have in common, and what no generation has any more goes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest

from tests.unit.generations.test_snapshot import APPLICATION, FILES, disk_of, generation, make, mode
from trapd.errors import SnapshotError
from trapd.generations import table
from trapd.generations.copying import Rights
from trapd.generations.room import Room
from trapd.generations.snapshot import SnapshotStore
from trapd.generations.store import Store, digest_of, name_of, rights_of

A = {f"code/trap/m{number}.py": f"x = {number}\n" for number in range(9)} | FILES
B = {**A, "code/trap/m0.py": "x = 'other'\n"}


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    (tmp_path / "generations").mkdir()
    return SnapshotStore(tmp_path / "generations")


def objects(home: Path) -> dict[str, int]:
    """Every object with its inode."""
    found = (path for path in (home / "store").rglob("*") if path.is_file())
    return {path.parent.name + path.name: path.stat().st_ino for path in found}


def sizes(snapshot: Path) -> int:
    """Of all files that are no folder's own, as the table counts them."""
    cost = table.cost(snapshot)
    assert cost is not None
    own = {table.NAME, "manifest.json"}
    assert cost.size == sum(
        path.stat().st_size for path in snapshot.rglob("*") if path.is_file() and path.name not in own
    )
    return cost.size


def added(snapshot: Path) -> int:
    cost = table.cost(snapshot)
    assert cost is not None
    return cost.added


def test_a_name_tells_content_and_rights() -> None:
    digest = "a" * 64
    for rights in (Rights(), Rights(executable=True), Rights(group=120), Rights(executable=True, group=120)):
        assert rights_of(name_of(digest, rights)) == rights
        assert digest_of(name_of(digest, rights)) == digest


def test_a_second_generation_adds_what_is_new_and_one_that_goes_back_adds_nothing(
    store: SnapshotStore, tmp_path: Path
) -> None:
    first, second, third = (make(store, tmp_path, number, files) for number, files in ((1, A), (2, B), (3, A)))
    assert added(first) >= sum(map(len, A.values()))
    assert added(second) == len(B["code/trap/m0.py"])
    assert added(third) == 0
    assert sizes(first) == sizes(third) == sizes(second) - len("'other'") + 1
    for path in A:
        assert (first / path).samefile(third / path)
    assert (second / "code/trap/m1.py").samefile(first / "code/trap/m1.py")


def test_equal_files_of_one_generation_are_one_object(store: SnapshotStore, tmp_path: Path) -> None:
    made = make(store, tmp_path, 1, {**FILES, "code/a.py": "", "code/b.py": "", "code/c.py": ""})
    assert (made / "code/a.py").samefile(made / "code/c.py")
    again = make(store, tmp_path, 2, {**FILES, "code/z.py": ""})
    assert (again / "code/z.py").samefile(made / "code/a.py")


def test_rights_are_part_of_what_an_object_is(store: SnapshotStore, tmp_path: Path) -> None:
    disk = disk_of(tmp_path, {**FILES, "code/open.py": "same", "code/closed.py": "same", "code/tool": "same"})
    (tmp_path / "installed/code/closed.py").chmod(0o600)
    (tmp_path / "installed/code/tool").chmod(0o755)
    asyncio.run(store.make(generation(1), disk, [], APPLICATION))
    code = tmp_path / "generations/1/code"
    assert [mode(code / name) for name in ("open.py", "closed.py", "tool")] == [0o444, 0o440, 0o555]
    (tmp_path / "installed/code/closed.py").chmod(0o644)
    (tmp_path / "installed/code/open.py").chmod(0o640)
    asyncio.run(store.make(generation(2), disk, [], APPLICATION))
    code = tmp_path / "generations/2/code"
    assert [mode(code / name) for name in ("open.py", "closed.py", "tool")] == [0o440, 0o444, 0o555]


def test_nobody_else_looks_into_the_store(store: SnapshotStore, tmp_path: Path) -> None:
    """Its names are digests of secrets, too."""
    make(store, tmp_path, 1)
    assert mode(tmp_path / "store") == 0o700


def test_what_no_generation_has_any_more_goes_and_all_else_stays(store: SnapshotStore, tmp_path: Path) -> None:
    make(store, tmp_path, 1, A)
    second = make(store, tmp_path, 2, B)
    before = objects(tmp_path)
    asyncio.run(store.remove(1))
    gone = before.keys() - objects(tmp_path).keys()
    assert gone == {hashlib.sha256(A["code/trap/m0.py"].encode()).hexdigest()}
    assert {path: (second / path).read_text() for path in B} == B
    asyncio.run(store.remove(2))
    assert objects(tmp_path) == {}


@pytest.mark.parametrize("content", [b"", b"x = 1\nand more\n"])
def test_an_object_of_another_size_is_none(store: SnapshotStore, tmp_path: Path, content: bytes) -> None:
    """An empty file under a digest's name, left by a power cut, would spoil each later generation."""
    first = make(store, tmp_path, 1)
    module = first / "code/trap/__init__.py"
    module.chmod(0o644)
    module.write_bytes(content)
    second = make(store, tmp_path, 2)
    assert (second / "code/trap/__init__.py").read_text() == FILES["code/trap/__init__.py"]
    third = make(store, tmp_path, 3)
    assert (third / "code/trap/__init__.py").samefile(second / "code/trap/__init__.py")


def test_an_object_gets_its_name_only_when_all_is_on_the_disk(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def sync(folder: Path) -> None:
        seen.append((sorted(path.name for path in folder.iterdir()), objects(tmp_path)))

    monkeypatch.setattr("trapd.generations.filling.sync_file_system", sync)
    make(store, tmp_path, 1)
    assert seen == [(["code", "etc", "runtime"], {})]
    assert objects(tmp_path)


@pytest.mark.parametrize("error", [errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
def test_where_there_can_be_no_link_there_is_a_copy(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    first = make(store, tmp_path, 1)

    def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", refuse)
    for number in (2, 3):
        made = make(store, tmp_path, number)
        assert {path: (made / path).read_text() for path in FILES} == FILES
        assert mode(made / "etc/celeryconfig.py") == 0o440
        assert not (made / "code/trap/__init__.py").samefile(first / "code/trap/__init__.py")
    asyncio.run(store.remove(1))
    assert objects(tmp_path) == {}, "an object that nothing is linked to saves nothing"


def test_what_an_object_says_of_itself_is_not_believed_when_it_has_to_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("right")
    name = name_of(hashlib.sha256(b"right").hexdigest(), Rights())
    objects = Store(tmp_path / "store")
    objects.take(name, str(tmp_path / "file"))
    (tmp_path / "file").write_text("wrong")

    def refuse(*_: object) -> None:
        raise OSError(errno.EMLINK, "too many links")

    monkeypatch.setattr(os, "link", refuse)
    assert not objects.give(name, 5, str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_generation_that_does_not_fit_fills_no_disk_and_says_how_much_is_missing(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store, tmp_path, 1)
    large = {**FILES, "code/a.py": "a" * 5_000_000, "code/b.py": "a" * 5_000_000}
    monkeypatch.setattr(Room, "_free", lambda self: 3_000_000)
    with pytest.raises(SnapshotError) as error:
        make(store, tmp_path, 2, large)
    assert str(error.value) == (
        f"cannot make generation 2: {tmp_path}/generations: no space left on device; "
        "it takes 5M and 3M are free; make room for 2M more"
    )
    make(store, tmp_path, 3)
    monkeypatch.setattr(Room, "_can_clone", lambda self, example: True)
    make(store, tmp_path, 2, large)
