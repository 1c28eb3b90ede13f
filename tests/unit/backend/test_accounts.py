"""What trapd makes of a worker's answer, of a table, and of what tasks may have put in their places."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trapd.backend.accounts import WorkerAccounts
from trapd.errors import RefusedError
from trapd.layout import Runtime
from trapd.task_table import TaskTable
from trapd.work import TaskCounts, TaskRun, Work

NAME = "default@7-1"
COUNTS = {"received": 9, "started": 8, "succeeded": 3, "failed": {"KeyError": 2}, "retried": 1, "revoked": 2}
COUNTS |= {"unbegun": 1, "withdrawn": 0, "seconds": 7.5, "longest": 3.0}
ANSWER = {
    "running": [{"id": "1", "name": "proj.add", "since": 5.0, "queue": "red"}],
    "phase": "draining",
    "reserved": 2,
    "queues": ["red"],
    "delivered": 4.5,
    "tasks": {"proj.add": COUNTS},
}


@pytest.fixture
def runtime(short_path: Path) -> Path:
    Runtime(short_path).instances.mkdir()
    return short_path


@pytest.fixture
def worker(runtime: Path) -> Iterator[Callable[[object], None]]:
    """Answers the next question with this."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(Runtime(runtime).task_socket(NAME)))
    listening.listen()

    def serve(answer: object) -> None:
        with listening.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def answer(answer: object) -> None:
        threading.Thread(target=serve, args=(answer,), daemon=True).start()

    yield answer
    listening.close()


@pytest.fixture
def table(runtime: Path) -> None:
    TaskTable(Runtime(runtime).task_table(NAME), 1).put("1", "proj.add\n", 5.0)


async def test_an_answer_is_read(runtime: Path, worker: Callable[[object], None]) -> None:
    worker(ANSWER)
    work = await WorkerAccounts(runtime).work(NAME, os.getpid())
    counts: Any = COUNTS
    assert work == Work(
        (TaskRun("1", "proj.add", 5.0, "red"),), "", "draining", 2, ("red",), 4.5, {"proj.add": TaskCounts(**counts)}
    )
    assert work.counts["proj.add"].ended == 7
    worker({**ANSWER, "tasks": {"proj.add": {**COUNTS, "latest": [5, 2]}}})
    assert (await WorkerAccounts(runtime).work(NAME, os.getpid())).counts["proj.add"].latest == (5, 2)


@pytest.mark.parametrize(
    "answer",
    [
        *({}, {**ANSWER, "tasks": 3}, {**ANSWER, "reserved": "x"}, {**ANSWER, "running": [1]}),
        *({**ANSWER, "tasks": {"a": {**COUNTS, "latest": latest}}} for latest in (3, [1], [1, 2], ["x", 0])),
    ],
)
async def test_an_answer_that_makes_no_sense_is_none(
    runtime: Path, worker: Callable[[object], None], answer: object
) -> None:
    worker(answer)
    assert (await WorkerAccounts(runtime).work(NAME, os.getpid())).unanswered


async def test_where_nobody_answers_the_table_is_read(runtime: Path, table: None) -> None:
    work = await WorkerAccounts(runtime).work(NAME, os.getpid())
    assert (work.running, bool(work.unanswered)) == ((TaskRun("1", "proj.add?", 5.0),), True)
    other = await WorkerAccounts(runtime).work(NAME, os.getpid() + 1)
    assert other.running == ()


async def test_an_end_is_told_and_a_refusal_raises(runtime: Path, worker: Callable[[object], None]) -> None:
    worker({"done": "it was killed"})
    assert await WorkerAccounts(runtime).end(NAME, os.getpid(), "1", now=True) == "it was killed"
    worker({"error": "it does not run here"})
    with pytest.raises(RefusedError, match="does not run here"):
        await WorkerAccounts(runtime).end(NAME, os.getpid(), "1", now=True)


async def test_registered_tasks_are_told_or_not_known_yet(runtime: Path, worker: Callable[[object], None]) -> None:
    """See A7."""
    accounts = WorkerAccounts(runtime)
    worker({"registered": {"proj.add": "d1", "odd\x1bname": ""}})
    assert await accounts.registered(NAME, os.getpid()) == {"proj.add": "d1", "odd?name": ""}
    for answer in ({"error": "cannot answer that question"}, {"registered": 3}):
        worker(answer)
        assert await accounts.registered(NAME, os.getpid()) is None
    assert await accounts.registered("default@7-2", os.getpid()) is None
