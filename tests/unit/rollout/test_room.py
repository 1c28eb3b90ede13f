"""For how many more workers there is memory: a table of machines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.builders import one
from trapd.model import Instance, InstanceId, Memory
from trapd.rollout.room import Room

MB = 1 << 20


def alive(name: str, what: str = "ready") -> Instance:
    return replace(one(name, what), pid=1)


def elsewhere(name: str, what: str = "ready") -> Instance:
    """A worker of another pool."""
    instance = alive(name, what)
    return replace(instance, id=replace(instance.id, pool="q"))


THREE = [alive("1-1"), alive("1-2"), alive("1-3")]
ROWS = {
    "as many as fit whole": (THREE, [100, 100, 100], 250, Room(2, 250 * MB, 100 * MB)),
    "none": (THREE, [100, 100, 100], 99, Room(0, 99 * MB, 100 * MB)),
    "one that leaks does not keep its own cure away": (THREE, [100, 900, 100], 250, Room(2, 250 * MB, 100 * MB)),
    "of two the larger one counts": (THREE[:2], [100, 200], 250, Room(1, 250 * MB, 200 * MB)),
    "those that drain count, they have grown": (
        [alive("1-1", "draining")], [100], 250, Room(2, 250 * MB, 100 * MB)),
    "one that starts takes what it will, not what it has": (
        [*THREE, alive("2-1", "starting")], [100, 100, 100, 10], 250, Room(1, 160 * MB, 100 * MB)),
    "so does one of another pool": (
        [*THREE, elsewhere("1-1"), elsewhere("1-2", "starting")], [100, 100, 100, 200, 50], 250,
        Room(1, 100 * MB, 100 * MB)),
    "a start of which nothing is known yet": (
        [*THREE, alive("2-1", "starting")], [100, 100, 100], 250, Room(1, 150 * MB, 100 * MB)),
    "where all of them start there is room when one has started": (
        [alive("1-1", "starting"), elsewhere("1-1")], [10, 100], 250, Room(0, 250 * MB)),
    "nobody runs": ([one("1-1", "failed")], [], 250, Room(0, 250 * MB)),
    "the kernel does not tell what is free": (THREE, [100, 100, 100], None, Room()),
    "nor what they use": (THREE, [], 250, Room()),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "used", "free", "expected"), ROWS.values(), ids=ROWS.keys())
def test_room(seen: list[Instance], used: list[int], free: int | None, expected: Room) -> None:
    sizes: dict[InstanceId, Memory] = {i.id: Memory(size * MB) for i, size in zip(seen, used, strict=False)}
    assert Room.of("p", seen, sizes, None if free is None else free * MB) == expected


def test_pages_of_files_are_nobodys() -> None:
    used = {alive("1-1").id: Memory(900 * MB, limit=1000 * MB, cache=800 * MB)}
    assert Room.of("p", [alive("1-1")], used, 250 * MB) == Room(2, 250 * MB, 100 * MB)


def test_room_says_what_it_is_made_of() -> None:
    assert str(Room(0, 212 * MB, 390 * MB)) == "212M are free, and a worker needs 390M"
    assert "not known" in str(Room())
    assert "when one has started" in str(Room(0, 212 * MB))
