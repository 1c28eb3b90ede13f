"""Who is answered on the task socket, and what becomes of those who send something else."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from trapd.backend.task_socket import NoAnswerError, ask
from trapd.worker import task_socket
from trapd.worker.task_socket import MOST, TaskSocket


def answer(question: Mapping[str, Any]) -> Mapping[str, Any]:
    if question.get("ask") == "trouble":
        raise KeyError("of Celery's")
    return {"asked": question.get("ask")}


@pytest.fixture
def listen(short_path: Path) -> Iterator[Callable[..., Path]]:
    opened = []

    def listen(folder: str = "", user: int = os.getuid()) -> Path:
        path = short_path / folder / "w.sock"
        path.parent.mkdir(exist_ok=True)
        opened.append(TaskSocket(path, {user}, answer))
        opened[-1].open()
        return path

    yield listen
    for one in opened:
        one.remove()
    assert not list(short_path.rglob("*.sock"))


@pytest.fixture
def path(listen: Callable[..., Path]) -> Path:
    return listen()


@pytest.fixture
def far(listen: Callable[..., Path]) -> Path:
    """Longer than the path of a socket may be."""
    return listen("f" * 120)


@pytest.fixture
def strange(listen: Callable[..., Path]) -> Path:
    """Of a worker that answers another user only."""
    return listen(user=os.getuid() + 1)


async def test_a_question_is_answered(path: Path) -> None:
    assert await ask(path, os.getpid(), {"ask": "x"}) == {"asked": "x"}
    assert path.stat().st_mode & 0o777 == 0o660


async def test_the_path_may_be_longer_than_a_sockets(far: Path) -> None:
    assert await ask(far, os.getpid(), {"ask": "x"}) == {"asked": "x"}


async def test_what_goes_wrong_in_the_answer_is_told(path: Path) -> None:
    assert "KeyError" in (await ask(path, os.getpid(), {"ask": "trouble"}))["error"]


async def test_an_answer_of_another_process_does_not_count(path: Path) -> None:
    with pytest.raises(NoAnswerError, match="and not the worker's main process"):
        await ask(path, os.getpid() + 1, {"ask": "x"})


async def test_another_user_is_not_answered(strange: Path) -> None:
    with pytest.raises(NoAnswerError):
        await ask(strange, os.getpid(), {"ask": "x"})


@pytest.mark.parametrize("sent", [b"", b"\n", b"\xff\n", b"[]\n", b"[" * 2000 + b"\n", b"x" * 3 * MOST])
async def test_garbage_is_not_answered_and_the_next_is(path: Path, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        stranger.sendall(sent)
        stranger.shutdown(socket.SHUT_WR)
        stranger.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(100) == b""
    assert await ask(path, os.getpid(), {"ask": "x"}) == {"asked": "x"}


async def test_who_sends_nothing_keeps_nobody_waiting_for_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_socket, "PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        assert await ask(path, os.getpid(), {"ask": "x"}) == {"asked": "x"}


async def test_nobody_there_is_told(short_path: Path) -> None:
    with pytest.raises(NoAnswerError, match="no such file"):
        await ask(short_path / "w.sock", os.getpid(), {"ask": "x"})
