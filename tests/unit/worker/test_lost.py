"""Processes of the pool that were killed, in Celery's words and for the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from trapd.memory_events import MemoryKills
from trapd.worker.lost import KEPT, PER_HOUR, Lost, how


class Kills(MemoryKills):
    risen = False

    def rose(self) -> bool:
        return self.risen


@pytest.mark.parametrize(
    ("words", "end"),
    [
        ("Worker exited prematurely: signal 9 (SIGKILL) Job: 3.", "signal 9 (SIGKILL)"),
        ("Worker exited prematurely: exitcode 0 Job: 3.", "exitcode 0"),
        ("Could not start worker processes", "Could not start worker processes"),
    ],
)
def test_celerys_words_say_how_a_process_ended(words: str, end: str) -> None:
    assert how(words) == end


def test_a_lost_process_is_told_with_its_task_and_what_the_kernel_says(tmp_path: Path) -> None:
    kills = Kills(tmp_path)
    lost = Lost(kills)
    lost.add("id-1", "proj.add", "signal 11 (SIGSEGV)")
    kills.risen = True
    lost.add("id-2", "proj.hold", "signal 9 (SIGKILL)")
    first, second = lost.told()
    assert (first["id"], first["task"], first["how"], first["memory"]) == (
        *("id-1", "proj.add", "signal 11 (SIGSEGV)"),
        False,
    )
    assert (second["id"], second["memory"], lost.processes) == ("id-2", True, 2)


def test_a_task_that_kills_without_end_does_not_fill_the_history(tmp_path: Path) -> None:
    lost = Lost(Kills(tmp_path))
    for number in range(2 * PER_HOUR):
        lost.add(str(number), "proj.add", "signal 9 (SIGKILL)")
    assert lost.processes == 2 * PER_HOUR
    assert [entry["id"] for entry in lost.told()] == [str(number) for number in range(PER_HOUR - KEPT, PER_HOUR)]
