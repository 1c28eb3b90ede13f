"""What trapd reads of a worker that has ended: its receipt, and its task table."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from trapd.backend.accounts import WorkerAccounts
from trapd.contracts import Ended
from trapd.event import Became, TaskEnd
from trapd.layout import Runtime
from trapd.task_table import TaskTable

NAME = "default@7-1"
HEAD = {"pid": 4711, "wall": 1000.0}
RUN = Ended(NAME, 4711, 0.0)


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    Runtime(tmp_path).instances.mkdir()
    return tmp_path


def write(runtime: Path, *lines: object, end: str = "\n") -> None:
    Runtime(runtime).receipt(NAME).write_text("\n".join(json.dumps(line) for line in lines) + end)


async def became(runtime: Path, ended: Ended = RUN) -> dict[str, Became]:
    return {task.id: task.became for task in await WorkerAccounts(runtime).left(ended)}


async def test_a_task_of_which_only_the_begin_is_known_is_unknown(runtime: Path) -> None:
    held = [{"held": id, "name": "proj.add\x1b"} for id in "abc"]
    write(runtime, HEAD, *held, {"finished": "a", "name": "proj.add"}, {"returned": "b", "name": "proj.add"})
    assert await became(runtime) == {"a": Became.FINISHED, "b": Became.RETURNED, "c": Became.UNKNOWN}
    assert (await WorkerAccounts(runtime).left(RUN))[2] == TaskEnd("c", "proj.add?", Became.UNKNOWN)


async def test_a_line_that_the_end_of_the_worker_has_cut_counts_for_nothing(runtime: Path) -> None:
    write(runtime, HEAD, {"held": "a", "name": "proj.add"}, end='\n{"finished": "a", "na')
    assert await became(runtime) == {"a": Became.UNKNOWN}


@pytest.mark.parametrize(
    ("ended", "known"),
    [
        (Ended(NAME, 4711, 2000.0), True),
        (Ended(NAME, 4712, 0.0), False),  # of an earlier run
        (Ended(NAME, None, 999.0), True),  # trapd was away
        (Ended(NAME, None, 1001.0), False),  # told before
        (Ended(NAME, None, 0.0, now=4711), False),  # it runs
    ],
)
async def test_only_the_receipt_of_that_run_counts(runtime: Path, ended: Ended, known: bool) -> None:
    write(runtime, HEAD, {"finished": "a", "name": "proj.add"})
    assert bool(await became(runtime, ended)) is known


@pytest.mark.parametrize("text", ["", "\n", "[" * 10_000, "3\n", '{"pid": "x"}\n', '{"pid": 4711, "wall": 0}\n3\n'])
async def test_what_a_task_has_put_there_is_no_receipt(runtime: Path, text: str) -> None:
    Runtime(runtime).receipt(NAME).write_text(text)
    assert await became(runtime) == {}


def put(runtime: Path, *ids: str) -> None:
    table = TaskTable(Runtime(runtime).task_table(NAME), len(ids))
    for id in ids:
        table.put(id, "proj.add", 5.0)


async def test_what_a_killed_worker_ran_is_unknown_and_its_files_go_when_it_is_gone(runtime: Path) -> None:
    await asyncio.to_thread(put, runtime, "a", "b")
    accounts, ended = WorkerAccounts(runtime), Ended(NAME, None, 0.0)
    write(runtime, HEAD, {"finished": "a", "name": "proj.add"})
    assert await became(runtime, ended) == {"a": Became.FINISHED, "b": Became.UNKNOWN}
    assert await became(runtime) == {"a": Became.FINISHED}  # the table is of this process
    await accounts.settle(NAME, gone=False)
    assert await became(runtime, ended) == {"a": Became.UNKNOWN, "b": Became.UNKNOWN}  # the next run reads it, too
    await accounts.settle(NAME, gone=True)
    assert not list(Runtime(runtime).instances.iterdir())
