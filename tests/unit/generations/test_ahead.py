"""Links made ahead: they are used where they are those of the last generation, and by nobody else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.generations.test_taking_over import SITE, entries, looked, make, put, site, snapshots, tree
from trapd.generations import ahead, filling, linking
from trapd.generations.snapshot import SnapshotStore

__all__ = ["site", "snapshots"]  # fixtures


def prepared(snapshots: SnapshotStore) -> list[Path]:
    return list(snapshots.directory.glob(".ahead-*"))


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that are linked while a generation is made."""
    found = list[str]()

    def link(generation: Path, target: Path, place: str, entries: object) -> object:
        found.append(place)
        return linking.link_files(generation, target, place, entries)  # type: ignore[arg-type]

    monkeypatch.setattr(filling, "link_files", link)
    return found


def test_nothing_is_left_to_link_but_what_changed(snapshots: SnapshotStore, site: Path, links: list[str]) -> None:
    first = make(snapshots, 1, looked(site))
    assert asyncio.run(snapshots.link_ahead())
    put(site / "trap/data/table.csv", "3,4\n")
    second = make(snapshots, 2, looked(site))
    assert links == []
    assert prepared(snapshots) == []
    assert (second / "env" / SITE / "trap/data/table.csv").read_text() == "3,4\n"
    assert (second / "env" / SITE / "trap/run.py").samefile(first / "env" / SITE / "trap/run.py")


def test_it_is_no_generation_and_is_made_once(snapshots: SnapshotStore, site: Path) -> None:
    assert asyncio.run(snapshots.link_ahead())
    assert prepared(snapshots) == [], "there is no generation"
    make(snapshots, 1, looked(site))
    assert asyncio.run(snapshots.link_ahead())
    [folder] = prepared(snapshots)
    made = folder.stat().st_ctime_ns
    assert asyncio.run(snapshots.link_ahead())
    assert folder.stat().st_ctime_ns == made
    assert snapshots.present() == SnapshotStore(snapshots.directory).present() == {1}


def test_it_goes_with_its_generation_and_with_one_that_is_made_elsewhere(snapshots: SnapshotStore, site: Path) -> None:
    make(snapshots, 1, looked(site))
    asyncio.run(snapshots.link_ahead())
    asyncio.run(snapshots.remove(1))
    assert prepared(snapshots) == []
    make(snapshots, 2, looked(site))
    asyncio.run(snapshots.link_ahead())
    (snapshots.directory.parent / "stamps.jsonl").unlink()
    make(snapshots, 3, looked(site))
    asyncio.run(snapshots.link_ahead())
    assert [path.name for path in prepared(snapshots)] == [".ahead-3"]


def spoil_table(snapshots: SnapshotStore) -> None:
    """As compiling does: another file under its name."""
    table = snapshots.directory / "1/files.jsonl"
    snapshots.directory.joinpath("1").chmod(0o755)
    put(table.with_name("fresh"), table.read_text()).replace(table)


def cut_short(snapshots: SnapshotStore) -> None:
    [folder] = prepared(snapshots)
    (folder / ahead.NAME).write_text("{")


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_table,
        cut_short,
        lambda snapshots: SnapshotStore(snapshots.directory),  # after a power cut it may be anything
        lambda snapshots: (prepared(snapshots)[0] / ahead.NAME).unlink(),
    ],
    ids=["another table", "its text cut short", "of an earlier trapd", "not finished"],
)
def test_what_may_not_fit_is_not_taken(
    snapshots: SnapshotStore, site: Path, links: list[str], spoil: Callable[[SnapshotStore], object]
) -> None:
    make(snapshots, 1, looked(site))
    asyncio.run(snapshots.link_ahead())
    [folder] = prepared(snapshots)
    (folder / "env" / SITE / "trap/run.py").unlink()  # would be missed in a generation
    spoil(snapshots)
    second = make(snapshots, 2, looked(site))
    assert f"env/{SITE}/trap" in links
    assert (second / "env" / SITE / "trap/run.py").read_text() == "run = 1\n"
    asyncio.run(snapshots.link_ahead())
    assert [path.name for path in prepared(snapshots)] == [".ahead-2"]


def test_what_could_not_be_linked_ahead_is_copied_then(
    snapshots: SnapshotStore, site: Path, links: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is cut short, and one that has as many links as it can have."""
    first = make(snapshots, 1, looked(site))
    whole, link = entries(first), os.link
    (first / "env" / SITE / "numpy/core/sums.so").chmod(0o644)
    (first / "env" / SITE / "numpy/core/sums.so").write_text("mach")

    def linked(source: str, *more: str, **options: int) -> None:
        if source == "METADATA":
            raise OSError(31, "Too many links")
        link(source, *more, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", linked)
        asyncio.run(snapshots.link_ahead())
    second = make(snapshots, 2, looked(site))
    assert set(links) == {f"env/{SITE}/numpy/core", f"env/{SITE}/numpy-1.0.dist-info"}
    assert entries(second) == whole
    assert {path: (second / path).stat().st_size for path in whole} == {path: size for path, (_, size) in whole.items()}


def test_a_name_with_a_quotation_mark_is_found_in_a_table(snapshots: SnapshotStore, site: Path) -> None:
    put(site / 'trap/odd "name".py')
    put(site / "trap/Ünï \\ code.py")
    first = make(snapshots, 1, looked(site))
    asyncio.run(snapshots.link_ahead())
    second = make(snapshots, 2, looked(site))
    assert entries(first) == entries(second)
    assert tree(first) == tree(second)


def test_where_it_cannot_be_the_next_generation_is_made_all_the_same(
    snapshots: SnapshotStore, site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make(snapshots, 1, looked(site))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ahead, "link_files", full)
        assert asyncio.run(snapshots.link_ahead())
    assert "cannot link ahead what generation 1 has" in caplog.text
    assert prepared(snapshots) == []
    assert make(snapshots, 2, looked(site)).is_dir()
