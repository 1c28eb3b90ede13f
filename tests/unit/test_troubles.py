"""What keeps trapd from its work: a problem line as long as it lasts, and two events."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.fake_history import FakeHistory
from trapd.errors import HistoryError
from trapd.event import Event, EventKind
from trapd.model import PoolState
from trapd.troubles import Troubles, room


class Story:
    """Sources that a test changes, and a controller whose history can be full."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self.history, self.woken = FakeHistory(), 0
        self.troubles = Troubles(lambda: self.there, lambda: [*self.there, ""], self)

    def save(self, states: Sequence[PoolState], events: Sequence[Event]) -> None:
        self.history.save(pools=states, events=events)

    def wake(self) -> None:
        self.woken += 1

    async def at(self, wall: float, *there: str) -> None:
        self.there = list(there)
        await self.troubles.record(wall)

    @property
    def told(self) -> list[tuple[float, EventKind, str, float | None]]:
        return [(event.wall, event.kind, event.reason, event.duration) for event in self.history.events()]


async def test_a_trouble_is_told_when_it_begins_and_when_it_ends_and_not_in_between() -> None:
    story = Story()
    for wall, there in ((1.0, ["deaf"]), (2.0, ["deaf"]), (3.0, ["deaf", "full"]), (6.0, ["full"]), (7.0, [])):
        await story.at(wall, *there)
    assert story.told == [
        (1.0, EventKind.TROUBLE, "deaf", None),
        (3.0, EventKind.TROUBLE, "full", None),
        (6.0, EventKind.RELIEF, "it is over: deaf", 5.0),
        (7.0, EventKind.RELIEF, "it is over: full", 4.0),
    ]
    assert await story.troubles.now() == []


async def test_a_disk_that_cannot_be_written_is_told_at_once_and_written_down_later() -> None:
    story = Story()
    story.history.failure = HistoryError("cannot write the history: read-only")
    await story.at(1.0, "read-only")
    begun = (1.0, EventKind.TROUBLE, "read-only", None)
    assert story.told == [begun]
    assert story.woken == 1, "so that writing is tried again soon"
    await story.at(2.0, "read-only")
    assert (story.told, story.woken) == ([begun], 1)
    story.history.failure = None
    await story.at(9.0)
    assert story.told == [begun, (9.0, EventKind.RELIEF, "it is over: read-only", 8.0)]


async def test_who_asks_what_there_is_has_it_recorded_and_only_once() -> None:
    """A quiet trapd records what it finds when something changes: a read-only disk changes nothing."""
    story = Story()
    story.there = ["read-only"]
    for _ in range(3):
        assert await story.troubles.now() == ["read-only"]
    assert story.woken == 1
    await story.at(2.0, "read-only")
    assert await story.troubles.now() == ["read-only"]
    assert story.woken == 1, "it is recorded"
    story.there = []
    await story.troubles.now()
    assert story.woken == 2, "its end is news too"


async def test_a_trouble_whose_figures_change_is_one_event() -> None:
    story = Story()
    for wall, free in enumerate((12, 9, 13)):
        await story.at(float(wall), f"{free} KiB are free")
    await story.at(3.0)
    assert story.told == [
        (0.0, EventKind.TROUBLE, "12 KiB are free", None),
        (3.0, EventKind.RELIEF, "it is over: 12 KiB are free", 3.0),
    ]


async def test_the_same_words_of_two_sources_are_one_trouble() -> None:
    story = Story()
    story.there = ["full", "", "full"]
    assert await story.troubles.now() == ["full"]


@pytest.mark.parametrize(
    ("flags", "free", "words"),
    [
        (0, 1000, ""),
        (os.ST_RDONLY, 1000, "its file system is read-only"),
        (0, 3, "12 KiB are free on its disk; make room there"),
        (0, 0, "0 KiB are free"),
    ],
)
def test_a_disk_without_room_is_known_without_a_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: int, free: int, words: str
) -> None:
    found = SimpleNamespace(f_flag=flags, f_bfree=free, f_bavail=free, f_frsize=4096)
    monkeypatch.setattr("os.statvfs", lambda folder: found)
    said = room(tmp_path)
    assert words in said
    assert bool(words) is bool(said)


def test_a_state_directory_that_is_gone_or_closed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert room(tmp_path / "gone") == f"cannot use {tmp_path / 'gone'}: no such file or directory"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "it does not belong to the user of trapd" in room(tmp_path)
