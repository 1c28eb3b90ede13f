"""worker_state_db: a file for each worker, begun with that of its predecessor in the same pool and slot."""

from __future__ import annotations

import os
import re
import shelve
from pathlib import Path

import pytest

from trapd.worker.statedb import own_file


def write(base: str, clock: int, at: float = 0.0) -> None:
    with shelve.open(base) as db:
        db["clock"] = clock
    if at:
        for part in Path(base).parent.glob(Path(base).name + "*"):
            os.utime(part, (at, at))


def clock(base: str | None) -> object:
    assert base is not None
    with shelve.open(base) as db:
        return db.get("clock")


def names(folder: Path) -> set[str]:
    return {re.sub(r"\.(dat|dir|bak|db)$", "", path.name) for path in folder.iterdir()}


@pytest.mark.parametrize("template", ["%n.state", "%p", "state of %n"])
def test_a_new_generation_begins_with_the_latest_file_of_its_pool_and_slot(tmp_path: Path, template: str) -> None:
    def file(node: str) -> str:
        return str(tmp_path / template.replace("%n", node).replace("%p", f"{node}@host"))

    nodes = {"default-3-1": 100.0, "default-9-1": 300.0, "default-10-1": 200.0, "default-9-2": 400.0, "gpu-9-1": 500.0}
    for number, (node, at) in enumerate(nodes.items()):
        write(file(node), number, at)
    own = own_file(str(tmp_path / template), "default", "11-1", "host")
    assert own == file("default-11-1")
    assert clock(own) == 1
    left = {Path(file(node)).name for node in ("default-9-1", "default-11-1", "default-9-2", "gpu-9-1")}
    assert names(tmp_path) == left  # what was taken over by one that came later is of no use


def test_a_worker_that_is_started_again_keeps_its_own(tmp_path: Path) -> None:
    write(str(tmp_path / "default-6-1"), 6, 900.0)
    write(str(tmp_path / "default-7-1"), 7, 100.0)
    assert clock(own_file(str(tmp_path / "%n"), "default", "7-1", "host")) == 7


@pytest.mark.parametrize("template", ["celery.state", "%h.state"])
def test_one_file_for_all_becomes_one_for_each_that_begins_with_it(tmp_path: Path, template: str) -> None:
    plain = str(tmp_path / template.replace("%h", "host"))
    write(plain, 5)
    first = own_file(str(tmp_path / template), "default", "7-1", "host")
    assert first == f"{plain}.default-7-1"
    assert clock(first) == 5
    write(first, 6)
    assert clock(own_file(str(tmp_path / template), "default", "8-1", "host")) == 6
    assert clock(plain) == 5


def test_a_predecessors_file_that_is_damaged_costs_no_start(tmp_path: Path) -> None:
    write(str(tmp_path / "default-6-1"), 6)
    for part in tmp_path.iterdir():
        part.write_bytes(b"\0garbage")
    assert clock(own_file(str(tmp_path / "%n"), "default", "7-1", "host")) is None


def test_a_file_that_cannot_be_made_costs_a_line_and_no_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert own_file(str(tmp_path / "absent" / "%n"), "default", "7-1", "host") is None
    assert "cannot use worker_state_db" in capsys.readouterr().err
