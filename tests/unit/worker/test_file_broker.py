"""Messages as files: whole and taken once, whoever writes them; kombu's own producer writes them in two steps."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES, _transport_cache, filesystem

from trapd.worker import file_broker

Make = Callable[..., Any]


@pytest.fixture
def stack() -> Any:
    with ExitStack() as made:
        yield made


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    folder = tmp_path / "messages"
    folder.mkdir()
    return folder


@pytest.fixture
def channel(stack: ExitStack, tmp_path: Path, messages: Path) -> Make:
    """A channel of ours, or of ``transport``."""

    def make(transport: Any = file_broker.Transport, **more: object) -> Any:
        options: dict[str, object] = {"data_folder_in": str(messages), "data_folder_out": str(messages)}
        options |= {"control_folder": str(tmp_path / "control"), **more}
        return stack.enter_context(
            Connection("filesystem://", transport=transport, transport_options=options)
        ).channel()

    return make


def test_it_takes_the_place_of_kombus_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSPORT_ALIASES, "filesystem", lambda: filesystem.Transport)  # as a celeryconfig may
    monkeypatch.setitem(_transport_cache, "filesystem", filesystem.Transport)
    file_broker.install()
    with Connection("filesystem://") as connection:
        assert type(connection.transport) is file_broker.Transport


def test_messages_come_in_order_whole_and_once(channel: Make, messages: Path) -> None:
    """kombu's and ours have one order; those from before the last boot are the oldest."""
    ours, kombus, other = channel(), channel(filesystem.Transport), channel()
    (messages / "99999999999_x.q.msg").write_text('{"n": -1}')
    for n in range(6):
        (ours, kombus)[n % 2]._put("q", {"n": n})
        then = time.monotonic() + 0.002  # a name says the millisecond
        while time.monotonic() < then:
            pass
    other._put("elsewhere.q", {"n": "not for q"})
    assert [(ours, other)[n % 2]._get("q")["n"] for n in range(7)] == [-1, 0, 1, 2, 3, 4, 5]
    with pytest.raises(Empty):
        ours._get("q")
    assert len(list(messages.iterdir())) == 1


def test_a_message_that_is_half_written_is_left_until_it_is_whole(channel: Make, messages: Path) -> None:
    taker = channel()

    class Body:
        def __json__(self) -> str:  # kombu has made the file by the time it asks for this
            assert [path.stat().st_size for path in messages.iterdir()] == [0]
            with pytest.raises(Empty):
                taker._get("q")
            return "whole"

    channel(filesystem.Transport)._put("q", {"body": Body()})
    [path] = messages.iterdir()
    text = path.read_text()
    for size in (1, len(text) // 2, len(text) - 1):
        path.write_text(text[:size])
        with pytest.raises(Empty):
            taker._get("q")
    path.write_text(text)
    assert taker._get("q") == {"body": "whole"}


def test_what_stays_half_is_set_aside_and_said_and_nobody_waits_for_it(
    channel: Make, messages: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = messages / "1_x.q.msg"
    half.write_text('{"body": "ha')
    taker = channel()
    taker._put("q", {"n": 1})
    assert taker._get("q") == {"n": 1}
    assert half.exists()
    then = time.time() - file_broker.HALF_FOR
    os.utime(half, (then, then))
    with caplog.at_level(logging.ERROR), pytest.raises(Empty):
        taker._get("q")
    [left] = messages.iterdir()
    assert left.read_text() == '{"body": "ha'
    assert str(left) in caplog.text


@pytest.mark.parametrize(
    ("step", "number"),
    [("read_bytes", errno.EMFILE), ("unlink", errno.EPERM)],
    ids=["no descriptors", "a sticky folder"],
)
def test_a_whole_message_that_cannot_be_taken_just_now_stays_in_the_queue(
    channel: Make,
    messages: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
) -> None:
    """A worker without descriptors would set aside all that is older than a minute; kombu's own passes over it, too."""
    taker = channel()
    taker._put("q", {"n": 1})
    [path] = messages.iterdir()
    then = time.time() - 2 * file_broker.HALF_FOR
    os.utime(path, (then, then))

    def refuse(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(Path, step, refuse)
        for _ in range(3):
            with pytest.raises(Empty):
                taker._get("q")
    assert taker._get("q") == {"n": 1}
    why = os.strerror(number).lower()
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot take the message {path}: {why}; it stays where it is and is tried again"
    ]


def test_of_two_who_see_a_message_one_takes_it(channel: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for theirs in (file_broker.Transport, filesystem.Transport):
        one, other = channel(), channel(theirs)
        one._put("q", {"n": 1})
        read, seen = file_broker._read, list[Any]()

        def read_by_both(path: Path, read: Any = read, seen: Any = seen, other: Any = other) -> Any:
            found = read(path)
            if not seen:  # the other one takes it between our look and our grasp
                seen.append(1)
                seen.append(other._get("q"))
            return found

        monkeypatch.setattr(file_broker, "_read", read_by_both)
        with pytest.raises(Empty):
            one._get("q")
        monkeypatch.undo()
        assert seen[1] == {"n": 1}


def test_a_message_appears_whole(channel: Make, messages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def slowly(path: Path, data: bytes) -> None:
        write(path, data[:5])
        with pytest.raises(Empty):
            channel(filesystem.Transport)._get("q")  # kombu's would take a half one, and die of it
        write(path, data)

    monkeypatch.setattr(Path, "write_bytes", slowly)
    channel()._put("q", {"n": 1})
    assert channel(filesystem.Transport)._get("q") == {"n": 1}


def test_processed_messages_are_kept_where_that_is_wanted(channel: Make, tmp_path: Path) -> None:
    (tmp_path / "processed").mkdir()
    taker = channel(store_processed=True, processed_folder=str(tmp_path / "processed"))
    taker._put("q", {"n": 1})
    taker._get("q")
    assert [json.loads(path.read_text()) for path in (tmp_path / "processed").iterdir()] == [{"n": 1}]


def test_a_table_that_is_being_written_is_looked_at_again(
    channel: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "control" / "e.exchange"
    channel()._queue_bind("e", "ours", "", "ours")
    text = table.read_text()
    table.write_text("")
    monkeypatch.setattr(time, "sleep", lambda _: table.write_text(text))
    assert [entry.queue for entry in channel().get_table("e")] == ["ours"]


def test_queues_bound_at_the_same_time_are_both_bound(
    channel: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The other worker makes the table after we looked for it: kombu alone would then open it anew, emptied."""
    link = os.link

    def other_first(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        channel()._queue_bind("e", "theirs", "", "theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", other_first)
    channel()._queue_bind("e", "ours", "", "ours")
    assert {entry.queue for entry in channel().get_table("e")} == {"ours", "theirs"}
    assert [path.name for path in (tmp_path / "control").iterdir()] == ["e.exchange"]
