"""Processes of the pool that stand stopped: what the kernel says of them, second by second, in virtual time."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from trapd.worker.consuming import QUIET
from trapd.worker.stopped import DEBUGGER, SIGNAL, Stand, Stopped, processes, read

ONE, TWO, THREE = 1001, 1002, 1003


class Case:
    """A pool of three processes, looked at once a second. ``stands``: those that are stopped now."""

    def __init__(self) -> None:
        self.now, self.looks = 100.0, 0
        self.stands: dict[int, Stand] = {}
        self.judge = Stopped(self.read)

    def read(self, process: int) -> Stand | None:
        self.looks += 1
        return self.stands.get(process)

    def stop(self, process: int, state: str = SIGNAL, used: bytes = b"7") -> None:
        self.stands[process] = Stand(state, (used, b"3"))

    def run(self, seconds: float) -> str:
        for _ in range(round(seconds)):
            self.now += 1
            self.judge.look(lambda: [ONE, TWO, THREE], self.now)
        return self.judge.trouble


def test_processes_that_are_all_stopped_are_noticed_within_seventy_seconds() -> None:
    case = Case()
    case.run(100)
    for process in (ONE, TWO, THREE):
        case.stop(process)
    assert case.run(QUIET - 1) == ""
    assert case.run(8) == "3 of 3 processes of its pool are stopped by a signal"
    assert 200.0 < case.judge.since < 207.0


def test_one_that_is_stopped_is_noticed_though_others_work() -> None:
    case = Case()
    case.stop(TWO)
    assert case.run(QUIET + 7) == "1 of 3 processes of its pool is stopped by a signal"
    case.stands.clear()
    assert case.run(1) == ""


@pytest.mark.parametrize(
    ("states", "by"), [((DEBUGGER, DEBUGGER), "a debugger"), ((SIGNAL, DEBUGGER), "a signal and a debugger")]
)
def test_a_debugger_stops_a_process_as_well(states: tuple[str, str], by: str) -> None:
    case = Case()
    for process, state in zip((ONE, TWO), states, strict=True):
        case.stop(process, state)
    assert case.run(QUIET + 7) == f"2 of 3 processes of its pool are stopped by {by}"


def test_one_that_uses_the_processor_between_two_looks_is_not_stopped() -> None:
    """cpulimit and strace: a look a second finds it stopped each time."""
    case = Case()
    for second in range(600):
        case.stop(ONE, used=str(second).encode())
        assert case.run(1) == ""


def test_one_that_goes_on_and_stops_again_begins_anew() -> None:
    case = Case()
    for _ in range(5):
        case.stop(ONE)
        assert case.run(QUIET - 10) == ""
        case.stands.clear()
        case.run(1)


def test_a_pause_of_the_whole_worker_is_no_time_that_it_stood() -> None:
    """Everything was stopped, and the main process goes on before its children."""
    case = Case()
    case.run(30)
    case.stop(ONE)
    case.run(10)
    case.now += 3600
    assert case.run(QUIET / 2) == ""


def test_while_none_is_stopped_it_looks_twelve_times_a_minute() -> None:
    case = Case()
    case.run(600)
    assert case.looks <= 3 * 121


def test_in_a_drain_those_go_on_that_a_signal_has_stopped_and_a_debuggers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda process, number: told.append((process, number)))
    case = Case()
    case.stop(ONE)
    case.stop(TWO, DEBUGGER)
    case.run(QUIET - 1)
    case.judge.resume(case.now)
    assert told == []
    case.run(8)
    case.judge.resume(case.now)
    assert told == [(ONE, signal.SIGCONT)]
    assert case.judge.trouble == "1 of 3 processes of its pool is stopped by a debugger"
    case.judge.resume(case.now)
    assert len(told) == 1


def test_what_the_kernel_says_of_a_process_is_read() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            assert read(process.pid) is None
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            stand = read(process.pid)
            assert stand is not None
            assert stand.state == SIGNAL
            assert len(stand.used) == 2
            assert stand == read(process.pid)
        finally:
            process.kill()
    assert read(process.pid) is None


def test_a_process_that_a_debugger_holds_is_stopped_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("7 (a) T (b) t 1 7 7 0 -1 4194560 190 0 0 0 25 4 0 0 20 0 1 0 99 5697536 200")
    assert read(7, str(tmp_path)) == Stand(DEBUGGER, (b"25", b"4"))
    assert read(8, str(tmp_path)) is None


def test_a_pool_of_another_kind_has_no_processes() -> None:
    def pool(*pids: int | None) -> SimpleNamespace:
        return SimpleNamespace(_pool=SimpleNamespace(_pool=[SimpleNamespace(pid=pid) for pid in pids]))

    assert processes(pool(ONE, None, TWO)) == [ONE, TWO]
    assert processes(SimpleNamespace(_pool=SimpleNamespace())) == []
    assert processes(SimpleNamespace()) == []
    assert processes(None) == []
