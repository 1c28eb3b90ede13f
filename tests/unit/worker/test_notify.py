"""What a worker sends to its supervisor, and what it does if nobody listens."""

from __future__ import annotations

import gc
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from trapd.worker.notify import Notifier, watchdog_seconds


@pytest.fixture
def path(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NOTIFY_SOCKET", str(short_path / "notify"))
    return short_path / "notify"


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    listener.settimeout(1)
    return listener


def test_fields_are_sent_as_one_message(path: Path) -> None:
    with listen(path) as listener, closing(Notifier()) as notifier:
        assert notifier.send({"READY": "1", "STATUS": "ready, 0 active"})
        assert listener.recv(100) == b"READY=1\nSTATUS=ready, 0 active"


def test_a_value_cannot_smuggle_in_another_field(path: Path) -> None:
    with listen(path) as listener, closing(Notifier()) as notifier:
        notifier.send({"STATUS": "at é.py\nMAINPID=1"})
        assert listener.recv(100) == b"STATUS=at ?.py MAINPID=1"


def test_without_a_supervisor_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert Notifier().send({"READY": "1"})


def test_a_supervisor_that_does_not_listen_never_makes_the_worker_wait(path: Path) -> None:
    with listen(path), closing(Notifier()) as notifier:
        sent = [notifier.send({"STATUS": "x" * 1000}) for _ in range(5000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sdnotify: a socket it cannot connect
def test_the_next_supervisor_at_the_same_place_is_heard(path: Path) -> None:
    notifier = Notifier()
    assert not notifier.send({"STATUS": "1"})
    with listen(path):
        assert notifier.send({"STATUS": "2"})
    path.unlink()
    with listen(path) as second:
        assert not notifier.send({"STATUS": "3"})
        assert notifier.send({"STATUS": "4"})
        assert second.recv(100) == b"STATUS=4"
    notifier.close()
    gc.collect()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("60000000", "", 60.0), ("500000", str(os.getpid()), 0.5), ("60000000", "1", 0.0), ("", "", 0.0), ("x", "", 0.0)],
    ids=["meant for anybody", "meant for us", "meant for another", "none", "no number"],  # no pid in a name
)
def test_the_watchdog_counts_only_if_it_is_meant_for_this_process(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, seconds: float
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_seconds() == seconds
