"""Nobody links ahead while anything else is done with generations, and whoever comes then ends it first.

Both work in the same folder: one fills it, the other one takes it and renames it. When they once did so at the same
time, one upgrade made two generations.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import application
from trapd.errors import SnapshotError
from trapd.generations import short_lived
from trapd.generations.order import Order, Tell
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation

AHEAD = "link_ahead"


class Processes:
    """In the place of the short-lived process: how many there are, and what they do. They end when they are let."""

    def __init__(self) -> None:
        self.now = list[str]()
        self.story = list[str]()
        self.goes_on = asyncio.Event()
        self.turns = 3  # of the loop that one needs to end, also when it is killed

    async def run(self, order: Order, tell: Tell, begun: object) -> Any:
        assert AHEAD not in self.now, f"{order.act} while links are made ahead"
        assert order.act != AHEAD or not self.now, f"links are made ahead while {self.now}"
        self.now.append(order.act)
        self.story.append(order.act)
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.story.append(f"{order.act} ended")
            raise
        finally:
            for _ in range(self.turns):  # as the real one, which nobody keeps from that
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            self.now.remove(order.act)
        return [] if order.act == "examine" else 0


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    found = Processes()
    monkeypatch.setattr(short_lived, "run", found.run)
    return found


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    (tmp_path / "generations").mkdir()
    return SnapshotStore(tmp_path / "generations")


def generation(number: int) -> Generation:
    return Generation(number, "f", {}, {}, "a test", "tests", 0.0)


async def make(store: SnapshotStore, number: int) -> None:
    await store.make(generation(number), Disk(DiskState.SETTLED), [], application())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.mark.parametrize("order", ["make", "remove", "compile", "examine"])
async def test_an_order_ends_it_and_begins_when_its_process_is_gone(
    store: SnapshotStore, processes: Processes, order: str
) -> None:
    store._present = frozenset({1})
    orders: dict[str, Callable[[], Any]] = {
        "make": lambda: make(store, 2),
        "remove": lambda: store.remove(1),
        "compile": lambda: store.compile(1),
        "examine": lambda: store.examine([1]),
    }
    linking = asyncio.create_task(store.link_ahead())
    await until(lambda: processes.now == [AHEAD])
    other = asyncio.create_task(orders[order]())
    await until(lambda: processes.now == [order])
    assert await linking is False, "it is to be tried again"
    assert processes.story == [AHEAD, f"{AHEAD} ended", order]
    assert await store.link_ahead() is False, "not now"
    processes.goes_on.set()
    await other
    assert await store.link_ahead() is True
    assert processes.story[3:] == [AHEAD]


async def test_there_is_one_at_a_time(store: SnapshotStore, processes: Processes) -> None:
    first = asyncio.create_task(store.link_ahead())
    await until(lambda: processes.now == [AHEAD])
    assert await store.link_ahead() is False
    processes.goes_on.set()
    assert await first is True


async def test_with_whoever_waits_for_it_ends_its_process(store: SnapshotStore, processes: Processes) -> None:
    linking = asyncio.create_task(store.link_ahead())
    await until(lambda: processes.now == [AHEAD])
    linking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await linking
    assert processes.now == []
    processes.goes_on.set()
    await make(store, 1)


async def test_in_any_order_of_events_turns_are_kept(store: SnapshotStore, processes: Processes) -> None:
    """``Processes.run`` asserts it."""
    chance, made = random.Random(7), 0
    running = set[asyncio.Task[Any]]()
    for _ in range(300):
        match chance.randrange(6):
            case 0 | 1 | 2:
                running.add(asyncio.create_task(store.link_ahead()))
            case 3:
                made += 1
                running.add(asyncio.create_task(make(store, made)))
            case 4:
                processes.goes_on.set()
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
            case 5:
                processes.goes_on.clear()
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
    processes.goes_on.set()
    await asyncio.gather(*running)
    assert made > 20
    assert {"make", AHEAD} <= set(processes.story)
    assert store.present() == frozenset(range(1, made + 1))


async def test_what_goes_wrong_is_no_error_of_the_next_order(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def killed(order: Order, tell: Tell, begun: object) -> None:
        raise SnapshotError("cannot link ahead: its process was killed")

    monkeypatch.setattr(short_lived, "run", killed)
    assert await store.link_ahead() is True
    assert "its process was killed; the next generation takes longer to make" in caplog.text
