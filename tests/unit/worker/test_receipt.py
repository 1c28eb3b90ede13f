"""The file that a worker fills in while it drains."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trapd.worker.receipt import KEPT, Receipt


@dataclass
class Request:
    id: str
    acknowledged: bool = False
    name: str = "proj.add"


@dataclass
class Message:
    headers: dict[str, str]
    properties: dict[str, str] = field(default_factory=dict)


def lines(path: Path) -> list[Any]:
    head, *rest = map(json.loads, path.read_text().splitlines())
    assert head["pid"] == os.getpid()
    return [next(iter(line.items())) for line in rest]


def test_each_task_that_is_held_has_one_end(tmp_path: Path) -> None:
    receipt = Receipt(tmp_path / "it.receipt")
    assert not receipt.due
    receipt.begin()
    assert receipt.due
    receipt.ended(Request("solo", acknowledged=True), back=False)  # before the consumer is closed
    receipt.hold([Request("solo"), Request("a"), Request("b"), Request("c"), Request("d", acknowledged=True)])
    receipt.ended(Request("a", acknowledged=True), back=False)
    receipt.ended(Request("a"), back=False)  # Celery tells of a failure as of a success
    receipt.ended(Request("b", acknowledged=True), back=True)  # rejected, to be delivered again
    receipt.returned(Message({"id": "e", "task": "proj.add"}))
    receipt.returned(Message({}, {"correlation_id": "f"}))
    receipt.returned(Message({}))
    receipt.close()
    assert lines(tmp_path / "it.receipt") == [
        ("finished", "solo"),
        *(("held", id) for id in "abcd"),
        ("finished", "a"),
        ("returned", "b"),
        ("returned", "e"),
        ("returned", "f"),
        ("returned", "c"),  # the broker takes it back; of d, which was acknowledged, nothing is known
    ]


def test_without_a_task_there_is_no_file(tmp_path: Path) -> None:
    receipt = Receipt(tmp_path / "it.receipt")
    receipt.hold([])
    receipt.close()
    assert not list(tmp_path.iterdir())


def test_a_receipt_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "it.receipt").write_text("of an earlier run\n")
    Receipt(tmp_path / "it.receipt").hold([Request("a")])
    assert lines(tmp_path / "it.receipt") == [("held", "a")]


def test_a_receipt_that_cannot_be_written_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = Receipt(tmp_path / "none/it.receipt")
    receipt.hold([Request("a"), Request("b")])
    receipt.close()
    told = capsys.readouterr()
    assert (told.out + told.err).count("cannot write") == 1


def test_the_next_worker_removes_receipts_after_a_week(tmp_path: Path) -> None:
    for name, age in (("old.receipt", KEPT + 60), ("new.receipt", KEPT - 60), ("old.tasks", KEPT + 60)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    Receipt(tmp_path / "it.receipt").tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.receipt", "old.tasks"]
