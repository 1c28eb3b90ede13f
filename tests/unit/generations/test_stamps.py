"""What is kept of an installation from one copying to the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trapd.generations import stamps
from trapd.generations.stamps import NOTHING, Seen

MARK = (6, 10**18, 10**18, 42)
ODD = os.fsdecode(b"/site/\xff \n\t")


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    folder = tmp_path / "generations/7"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def kept(generation: Path) -> Path:
    file = generation.parent.parent / "stamps"
    folders = [(ODD, Seen.of("m1", {"\xff\n.py": (MARK, "d1")})), ("/site", Seen.of("", {}))]
    stamps.keep(file, generation, folders, group=7)
    return file


def test_what_is_kept_is_read_back_whatever_a_file_is_called(generation: Path) -> None:
    memory = stamps.read(kept(generation), generation.parent, group=7)
    assert memory.digests(ODD) == {"\xff\n.py": (MARK, "d1")}
    assert memory.generation == generation
    assert memory.is_same(ODD, "m1")
    assert not memory.is_same(ODD, "m2")
    assert not memory.is_same("/site", "")
    assert not memory.is_same("/another", "m1")


def test_from_a_generation_that_is_another_by_now_nothing_is_taken_over(generation: Path) -> None:
    file = kept(generation)
    (generation / "manifest.json").rename(generation / "aside")
    (generation / "manifest.json").write_text("{}")
    memory = stamps.read(file, generation.parent, group=7)
    assert not memory.is_same(ODD, "m1")
    (generation / "aside").rename(generation / "manifest.json")
    assert stamps.read(file, generation.parent, group=7).is_same(ODD, "m1")
    assert not stamps.read(file, generation.parent, group=8).is_same(ODD, "m1"), "the workers' group is another one"


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b'["/x", 1, 2, 3, 4, "d"]\n', b"\xff\n", b"{}\n"])
def test_what_cannot_be_read_is_nothing(generation: Path, content: bytes) -> None:
    file = generation / "stamps"
    file.write_bytes(content)
    assert stamps.read(file, generation.parent, group=7) == NOTHING
    assert stamps.read(generation / "missing", generation.parent, group=7) == NOTHING


def test_digests_that_cannot_be_read_are_none(generation: Path) -> None:
    file = kept(generation)
    file.write_text(file.read_text().replace("{", "[").replace("[", "{", 1))
    memory = stamps.read(file, generation.parent, group=7)
    assert memory.digests(ODD) == {}


def test_a_full_disk_is_no_failure(generation: Path) -> None:
    stamps.keep(generation / "missing/stamps", generation, [], group=7)


def test_what_is_forgotten_is_nothing(generation: Path) -> None:
    file = kept(generation)
    stamps.forget(file)
    stamps.forget(file)
    assert stamps.read(file, generation.parent, group=7) == NOTHING
