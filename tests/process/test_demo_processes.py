"""The demonstration's children: apart from the terminal, ended at the end, found even without their parent."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.processes import DemoError, Interrupted, Processes, end_marked, marked
from tests.support.processes import ended

FOREVER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]  # fmt: skip
PARENT = [
    sys.executable, "-c",
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
    " start_new_session=True)",
]  # fmt: skip


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    one = Processes(tmp_path)
    yield one
    one.stop_all()
    end_marked(one.mark, 0)


def wait_until(done: Callable[[], object], patience: float = 10.0) -> None:
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def up(processes: Processes, name: str) -> None:
    wait_until(lambda: "up" in processes.last_words(name))


def test_a_child_runs_in_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(processes: Processes) -> None:
    child = processes.start("child", FOREVER)
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


def test_its_words_are_kept(processes: Processes, tmp_path: Path) -> None:
    script = "import sys; print('to the file'); print('to the log', file=sys.stderr)"
    processes.start("a", [sys.executable, "-c", script], output="a.out").wait()
    assert (tmp_path / "a.out").read_text() == "to the file\n"
    assert processes.last_words("a") == "to the log"


def test_finish_waits_and_ticks(processes: Processes, tmp_path: Path) -> None:
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        (tmp_path / f"tick{len(ticks)}").touch()

    until_ticked = f"import pathlib\nwhile not pathlib.Path({str(tmp_path / 'tick2')!r}).exists(): pass"
    processes.finish("child", [sys.executable, "-c", until_ticked], tick)
    assert len(ticks) >= 2


def test_finish_tells_why_a_child_failed(processes: Processes) -> None:
    with pytest.raises(DemoError, match="cannot go on: child ended with status 3:\nno such version"):
        processes.finish("child", [sys.executable, "-c", "print('no such version'); raise SystemExit(3)"], lambda: None)


def test_stop_asks_first(processes: Processes) -> None:
    child = processes.start("child", FOREVER)
    assert processes.stop("child")
    assert child.returncode == -signal.SIGTERM


def test_stop_kills_what_does_not_end_and_says_so(processes: Processes) -> None:
    child = processes.start("child", STUBBORN, patience=0.2)
    up(processes, "child")
    assert not processes.stop("child")
    assert child.returncode == -signal.SIGKILL


def test_ctrl_c_interrupts_a_wait(processes: Processes) -> None:
    child = processes.start("child", FOREVER)
    with processes.signals(), pytest.raises(Interrupted):
        processes.finish("other", FOREVER, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert child.poll() is None, "it is ended by whoever cleans up"


def test_a_second_ctrl_c_ends_the_patience(processes: Processes) -> None:
    processes.start("child", STUBBORN, patience=30)
    up(processes, "child")
    with processes.signals():
        os.kill(os.getpid(), signal.SIGINT)

        before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)
        began = time.monotonic()
        try:
            assert not processes.stop("child")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 15


def test_signal_handlers_are_put_back(processes: Processes) -> None:
    before = signal.getsignal(signal.SIGINT)
    with processes.signals():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_grandchildren_without_a_parent_are_found_by_their_mark_and_ended(processes: Processes) -> None:
    processes.start("parent", PARENT).wait()
    wait_until(lambda: marked(processes.mark))
    ((pid, words),) = marked(processes.mark).items()
    assert end_marked(processes.mark, 0.1) == [words]
    wait_until(lambda: ended(pid))
    assert end_marked(processes.mark, 0) == []


def test_children_put_their_temporary_files_into_our_folder(processes: Processes, tmp_path: Path) -> None:
    processes.finish("child", [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"], lambda: None)
    assert processes.last_words("child") == str(tmp_path / "tmp")
