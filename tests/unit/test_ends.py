"""What a worker's end cost is read before it is recorded, and removed afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.builders import NOW, one, spec, wanting
from tests.support.no_accounts import NoAccounts
from trapd.asking import Ends
from trapd.contracts import Ended
from trapd.event import Became, Event, EventKind, TaskEnd
from trapd.model import Instance, InstanceState
from trapd.rollout.receipts import MOST, told
from trapd.rollout.view import PoolView

WALL = 1_700_000_000.0
READY = replace(one("2-1", InstanceState.READY, ago=50), pid=4711)
FAILED = replace(READY, state=InstanceState.FAILED, pid=None)
HELD = TaskEnd("id-1", "proj.hold", Became.UNKNOWN)
DONE, BACK = TaskEnd("id-2", "proj.add", Became.FINISHED), TaskEnd("id-3", "proj.add", Became.RETURNED)


class Files(NoAccounts):
    """``asked`` and ``settled``: what was read, and what was removed."""

    def __init__(self) -> None:
        self.asked: list[Ended] = []
        self.settled: list[tuple[str, bool]] = []

    async def left(self, ended: Ended) -> Sequence[TaskEnd]:
        self.asked.append(ended)
        return [HELD]

    async def settle(self, instance: str, *, gone: bool) -> None:
        self.settled.append((instance, gone))


def view(*instances: Instance) -> PoolView:
    return PoolView(spec(), wanting(2, 1), instances, 2, "", (), at=NOW, wall=WALL)


def event(kind: EventKind) -> Event:
    return Event(WALL, kind, "it ended", pool="p", generation=2, instance="p@2-1")


async def test_the_tasks_of_a_run_that_ended_are_told_and_then_its_files_are_removed() -> None:
    files = Files()
    ends = Ends(files)
    assert await ends.told([], [], view(READY)) == []
    (first,) = await ends.told([event(EventKind.CRASHED)], [READY], view(FAILED))
    assert (first.reason, first.tasks) == ("it ended; it had 1 task: proj.hold[id-1]", (HELD,))
    assert (files.asked[0].pid, files.settled) == (4711, [])
    await ends.settle()
    assert files.settled == [("p@2-1", False)]  # the next run counts poison by the table
    (second,) = await ends.told([event(EventKind.FORGOT)], [FAILED], view())
    assert second.tasks == ()
    await ends.settle()
    assert (files.settled[1:], len(files.asked)) == ([("p@2-1", True)], 1)


async def test_a_start_that_fails_at_once_does_not_tell_of_the_run_before() -> None:
    files = Files()
    ends = Ends(files)
    await ends.told([], [], view(READY))
    await ends.told([event(EventKind.CRASHED)], [READY], view(FAILED))
    await ends.settle()
    (again,) = await ends.told([event(EventKind.FAILED)], [FAILED], view(FAILED))
    assert (again.tasks, len(files.asked)) == ((), 1)


async def test_what_could_not_be_written_is_told_again_of_the_same_run_and_nothing_is_removed() -> None:
    files = Files()
    ends = Ends(files)
    await ends.told([], [], view(READY))
    for _ in range(2):
        (told,) = await ends.told([event(EventKind.GONE)], [READY], view())
        assert told.tasks == (HELD,)
    assert ([ended.pid for ended in files.asked], files.settled) == ([4711, 4711], [])


async def test_a_trapd_that_was_away_asks_for_any_run_since_it_last_wrote_one_down() -> None:
    files = Files()
    recalled = one("2-1", InstanceState.DRAINING, ago=100)
    await Ends(files).told([event(EventKind.GONE)], [recalled], view(replace(READY, pid=99)))
    (asked,) = files.asked
    assert (asked.pid, asked.now) == (None, 99)
    assert WALL - 110 < asked.since < WALL - 100
    assert not asked.is_of(99, WALL)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([], "it ended"),
        ([DONE], "it ended; of 1 task 1 finished"),
        ([DONE, BACK, HELD], "it ended; of 3 tasks 1 finished, 1 handed back, 1 unknown: proj.hold[id-1]"),
        (
            [replace(HELD, id=str(number)) for number in range(5)],
            "it ended; it had 5 tasks: proj.hold[0], proj.hold[1], proj.hold[2], and 2 more",
        ),
    ],
)
def test_a_sentence_names_the_tasks_whose_fate_nobody_knows(tasks: list[TaskEnd], words: str) -> None:
    assert told(event(EventKind.GONE), tasks).reason == words


def test_of_very_many_tasks_the_unknown_ones_are_kept() -> None:
    many = [replace(DONE, id=str(number)) for number in range(MOST)]
    kept = told(event(EventKind.GONE), [*many, HELD]).tasks
    assert (len(kept), kept[0]) == (MOST, HELD)
