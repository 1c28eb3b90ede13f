"""Reading what the workers wrote down."""

from __future__ import annotations

import json

from trapd.distribute import ledger


def line(what: str, task: str, at: float, pid: int = 1, version: str = "1.0") -> str:
    return json.dumps({"what": what, "task": task, "node": "n", "pid": pid, "version": version, "at": at})


def test_a_begin_and_an_end_are_one_execution() -> None:
    runs = ledger.read(
        [line("begin", "a", 1), line("begin", "b", 2, pid=2), line("end", "a", 3), line("end", "b", 4, pid=2)]
    )
    assert runs == [ledger.Run("a", "n", 1, "1.0", 1, 3), ledger.Run("b", "n", 2, "1.0", 2, 4)]


def test_a_task_whose_process_died_has_no_end() -> None:
    assert ledger.read([line("begin", "a", 1)]) == [ledger.Run("a", "n", 1, "1.0", 1, None)]


def test_a_task_that_ran_twice_is_two_executions() -> None:
    runs = ledger.read([line("begin", "a", 1), line("begin", "a", 5, pid=2), line("end", "a", 6, pid=2)])
    assert [(run.pid, run.finished) for run in runs] == [(1, None), (2, 6)]
    again = ledger.read([line("begin", "a", 1), line("end", "a", 2), line("begin", "a", 5), line("end", "a", 6)])
    assert [(run.started, run.finished) for run in again] == [(1, 2), (5, 6)]
