"""The table of running tasks: what is written is what is read, and a kill leaves no half of a row."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trapd.task_table import HEADER, ROW, RunningTask, TaskTable, parse


def read(path: Path) -> list[RunningTask]:
    pid, tasks = parse(path.read_bytes())
    assert pid == os.getpid()
    return tasks


def test_what_runs_is_in_the_file_and_what_has_ended_is_not(tmp_path: Path) -> None:
    table = TaskTable(path := tmp_path / "w.tasks", 3)
    first = table.put("a", "proj.add", 1.5)
    table.put("b", "proj.add", 2.5)
    table.clear(first)
    table.put("c", "proj.sub", 3.5)
    assert sorted(read(path), key=lambda task: task.id) == [
        RunningTask("b", "proj.add", 2.5),
        RunningTask("c", "proj.sub", 3.5),
    ]


def test_a_table_that_is_full_goes_without(tmp_path: Path) -> None:
    table = TaskTable(path := tmp_path / "w.tasks", 1)
    place = table.put("a", "proj.add", 1.0)
    assert table.put("b", "proj.add", 2.0) == 0
    table.clear(0)
    assert [task.id for task in read(path)] == ["a"]
    table.clear(place)
    assert table.put("c", "proj.add", 3.0) == place


def test_long_names_are_cut_between_characters(tmp_path: Path) -> None:
    table = TaskTable(path := tmp_path / "w.tasks", 1)
    table.put("é" * 300, "ü" * 300, 1.0)
    [task] = read(path)
    assert (task.id, task.name) == ("é" * 120, "ü" * 126)


@pytest.mark.parametrize("content", [b"", b"x" * HEADER, b"TRAPDTSK\x02\x00" + b"\0" * HEADER])
def test_another_file_is_no_table(content: bytes) -> None:
    with pytest.raises(ValueError, match="table"):
        parse(content)


def test_a_table_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    table = TaskTable(path := tmp_path / "w.tasks", 2)
    table.put("a", "proj.add", 1.0)
    table.put("b", "proj.add", 2.0)
    _, tasks = parse(path.read_bytes()[: HEADER + ROW + 9])
    assert [task.id for task in tasks] == ["a"]


def test_without_room_for_all_of_it_there_is_no_file(tmp_path: Path) -> None:
    """A page that cannot be provided later would end the worker."""
    handler, limits = signal.getsignal(signal.SIGXFSZ), resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEADER + ROW, limits[1]))
    try:
        with pytest.raises(OSError, match="no room"):
            TaskTable(tmp_path / "w.tasks", 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_sigkill_takes_nothing_of_it(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from trapd.task_table import TaskTable\n"
        "TaskTable(Path(sys.argv[1]), 4).put('a', 'proj.add', 1.0); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "w.tasks"
    done = subprocess.run([sys.executable, "-c", script, str(path)], timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert parse(path.read_bytes())[1] == [RunningTask("a", "proj.add", 1.0)]
