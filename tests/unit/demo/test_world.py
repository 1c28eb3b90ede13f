"""The ledger is read while workers write into it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with World(tmp_path / "trap") as world:
        yield world


def line(what: str, task: str, pid: int) -> str:
    return json.dumps({"what": what, "task": task, "node": "n", "pid": pid, "version": "1", "at": 1.0}) + "\n"


def test_a_ledger_is_empty_before_the_first_task(world: World) -> None:
    assert world.runs_and_gone() == ([], set())


def test_a_line_that_is_half_there_is_read_the_next_time(world: World) -> None:
    world.ledger.write_text(line("begin", "a", 1) + line("end", "a", 1)[:20])
    assert [run.finished for run in world.runs()] == [None]
    world.ledger.write_text(line("begin", "a", 1) + line("end", "a", 1))
    assert [run.finished for run in world.runs()] == [1.0]


def test_only_a_process_with_a_task_to_finish_is_looked_for(world: World) -> None:
    none = int(Path("/proc/sys/kernel/pid_max").read_text())  # never given to a process
    mine = os.getpid()
    world.ledger.write_text(line("begin", "a", mine) + line("begin", "b", none) + line("begin", "c", none + 1))
    assert world.runs_and_gone()[1] == {none, none + 1}
    with world.ledger.open("a") as ledger:
        ledger.write(line("end", "b", none) + line("end", "c", none + 1))
    assert world.runs_and_gone()[1] == set()
