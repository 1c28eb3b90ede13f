"""Tasks that kill their processes: counted on disk, due after so many kills, and freed by a person's order."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from trapd.task_table import TaskTable
from trapd.worker import poison
from trapd.worker.parking import Verdict
from trapd.worker.poison import DROP, MARK, RETRY, Poison

QUEUE = "celery.trapd-parked"
PARKED = {"id": "a", "task": "jobs.kill", MARK: "here"}


def of(folder: Path, host: str = "here", limit: int = 2) -> Poison:
    return Poison(folder / ".poison", "default", host, limit)


def poisoned(folder: Path) -> Poison:
    found = of(folder)
    found.killed("a", "jobs.kill")
    found.killed("a", "jobs.kill")
    found.parked("a", "jobs.kill", QUEUE)
    return found


def test_a_task_is_due_after_so_many_kills_whichever_worker_counted_them(tmp_path: Path) -> None:
    first, second = of(tmp_path), of(tmp_path)
    assert not first.is_due("a")
    first.killed("a", "jobs.kill")
    assert not second.is_due("a")
    second.killed("a", "jobs.kill")
    assert first.is_due("a")
    assert not first.is_due("b")
    assert not of(tmp_path, limit=0).is_due("a")


def test_what_a_killed_worker_ran_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "default@7-1.tasks"
    TaskTable(table, 2).put("a", "jobs.kill", 1.0)
    found = of(tmp_path, limit=1)
    found.recall(table)  # of this very process: it is not killed
    assert not found.is_due("a")
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    found.recall(table)
    assert found.is_due("a")
    found.recall(tmp_path / "none")


@pytest.mark.parametrize(("order", "verdict"), [(RETRY, Verdict.BACK), (DROP, Verdict.DROPPED)])
def test_a_poisoned_task_stays_until_a_person_orders_something(tmp_path: Path, order: str, verdict: Verdict) -> None:
    found = poisoned(tmp_path)
    (told,) = found.told()
    assert (told["id"], told["task"], told["queue"], told["kills"]) == ("a", "jobs.kill", QUEUE, 2)
    assert found.judge(PARKED, QUEUE) is Verdict.STAYS
    with pytest.raises(KeyError):
        found.order("b", order)
    of(tmp_path).order("a", order)  # another worker is asked
    assert of(tmp_path, host="there").judge(PARKED, QUEUE) is Verdict.STAYS
    assert found.judge(PARKED, QUEUE) is verdict
    assert found.told() == []
    assert not found.is_due("a")


def test_a_message_of_which_nothing_is_known_any_more_is_known_again(tmp_path: Path) -> None:
    found = of(tmp_path)
    assert found.judge(PARKED, QUEUE) is Verdict.STAYS
    assert [told["id"] for told in found.told()] == ["a"]


def test_old_kills_are_forgotten_and_a_folder_that_cannot_be_written_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = of(tmp_path, limit=1)
    found.killed("a", "jobs.kill")
    monkeypatch.setattr(poison, "KEPT", -1.0)
    assert not of(tmp_path, limit=1).is_due("a")
    assert not list((tmp_path / ".poison").glob("*.json"))
    (tmp_path / "file").touch()
    Poison(tmp_path / "file" / ".poison", "default", "here", 1).killed("a", "jobs.kill")


def test_messages_that_come_for_the_first_time_cost_no_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What kills comes again, so only a message that was delivered before is worth a look at the folder."""
    found, other, looks, now = of(tmp_path, limit=1), of(tmp_path, limit=1), list[Path](), 100.0
    stat = Path.stat

    def counting(path: Path, **options: bool) -> os.stat_result:
        looks.append(path)
        return stat(path, **options)

    monkeypatch.setattr(poison, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    assert not found.is_due("a", again=False)
    other.killed("a", "jobs.kill")
    monkeypatch.setattr(Path, "stat", counting)
    assert not any(found.is_due(f"{number}", again=False) for number in range(1000))
    assert not looks
    assert not found.is_due("a", again=False), "as if it had come for the first time"
    assert found.is_due("a", again=True)
    assert tmp_path / ".poison" in looks
    other.killed("b", "jobs.kill")
    now += poison.LOOK_EVERY
    assert found.is_due("b", again=False)
    found.killed("c", "jobs.kill")
    assert found.is_due("c", again=False), "what this very worker has seen"


def test_a_task_that_is_tried_again_is_not_set_aside_by_a_look_of_a_moment_ago(tmp_path: Path) -> None:
    """It comes back as another message, which no broker marks as delivered before."""
    found, other = poisoned(tmp_path), of(tmp_path)
    assert found.is_due("a", again=False)
    assert other.is_due("a", again=False)
    found.order("a", RETRY)
    assert found.is_due("a", again=False)
    assert found.judge(PARKED, QUEUE) is Verdict.BACK
    assert not found.is_due("a", again=False)
    assert not other.is_due("a", again=False)
