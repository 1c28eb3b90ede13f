"""The socket: clients that are slow, silent, greedy or gone trouble nobody else, and it comes and goes cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from tests.support.fake_controller import FakeController, commands_of, settled
from tests.support.virtual_clock import VirtualClock
from trapd.control import connection
from trapd.control import server as module
from trapd.control.connection import Patience
from trapd.control.protocol import MAX_REQUEST, Code
from trapd.control.rights import Rights
from trapd.control.server import ControlServer
from trapd.errors import RefusedError, SnapshotError, TrapdError
from trapd.event import Event, EventKind
from trapd.model import RolloutState
from trapd.peer import Peer

PATIENT = Patience(silence=30.0, writing=30.0)


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    with blockbuster_ctx("trapd.control"):
        yield


@contextlib.asynccontextmanager
async def serving(
    path: Path, controller: FakeController | None = None, patience: Patience = PATIENT, rights: Rights | None = None
) -> AsyncIterator[ControlServer]:
    controller = controller or settled(VirtualClock())
    commands = commands_of(controller)
    server = ControlServer(path / "control.sock", commands=commands, patience=patience, rights=rights)
    await server.open()
    try:
        yield server
    finally:
        await server.close()


class Client:
    """A well-behaved one, unless told otherwise."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, method: str, id: int | None = 1, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if id is None else {"id": id})
        await self.raw(json.dumps(message).encode() + b"\n")

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            answer: dict[str, Any] = json.loads(await self.reader.readuntil(b"\n"))
            return answer

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        await self.send(method, **params)
        return await self.answer()

    async def closed(self) -> bool:
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                return not await self.reader.read()
            return True


@contextlib.asynccontextmanager
async def client(path: Path) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_unix_connection(path / "control.sock")
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(true: Callable[[], bool]) -> None:
    """Let everything else run until so."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


def under_way(method: str) -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == f"control {method}"]


@contextlib.asynccontextmanager
async def nothing_running_after() -> AsyncIterator[None]:
    """Fails where a task of the server outlives what is inside."""
    before = asyncio.all_tasks()
    yield
    await until(lambda: asyncio.all_tasks() == before)


# --- asking ---------------------------------------------------------------------------------------------------------


async def test_a_question_is_answered_and_the_connection_serves_the_next(short_path: Path) -> None:
    async with nothing_running_after(), serving(short_path), client(short_path) as one:
        assert (await one.ask("ping"))["result"]["pid"] == 4242
        assert (await one.ask("status"))["result"]["schema"] == 2


async def test_what_goes_wrong_is_an_answer_with_a_code_and_the_connection_lives_on(short_path: Path) -> None:
    async with nothing_running_after(), serving(short_path), client(short_path) as one:
        for method, params, code in [
            ("nonsense", {}, Code.UNKNOWN_METHOD),
            ("scale", {}, Code.INVALID_PARAMS),
            ("recycle", {"pools": ["nosuch"]}, Code.USAGE),
        ]:
            error = (await one.ask(method, **params))["error"]
            assert error["code"] == code
            assert error["message"].startswith("cannot ")
        await one.raw(b"what?\n")
        assert (await one.answer())["error"]["code"] == Code.PARSE
        assert "result" in await one.ask("ping")


async def test_a_mistake_in_a_handler_is_an_internal_error_and_harms_nobody(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeController):
        async def undo(self, pool: str, *, actor: str, to: int | None = None, settings: bool = False) -> Any:
            raise KeyError("secret")

    async with nothing_running_after():
        broken = settled(VirtualClock())
        broken.__class__ = Broken
        async with serving(short_path, broken), client(short_path) as one:
            error = (await one.ask("rollout.undo", pool="default"))["error"]
            assert error["code"] == Code.INTERNAL
            assert "secret" not in error["message"]
            assert "result" in await one.ask("ping")
    assert "KeyError" in caplog.text


async def test_no_error_shows_a_password(short_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(FakeController):
        async def undo(self, pool: str, *, actor: str, to: int | None = None, settings: bool = False) -> Any:
            raise RefusedError("cannot undo: amqp://u:s3cret@h")

        async def retry(self, pools: Any, *, actor: str) -> Any:
            raise SnapshotError("cannot copy amqp://u:s3cret@h")

    async with nothing_running_after():
        failing = settled(VirtualClock())
        await failing.recycle(["default"], actor="root", reason="amqp://u:s3cret@h")
        failing.__class__ = Failing
        async with serving(short_path, failing), client(short_path) as one:
            await one.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1,"timeout":0}}\n')
            answers = [await one.answer(), await one.answer()]
            answers += [await one.ask("rollout.undo", pool="default"), await one.ask("retry")]
            assert [answer["error"]["code"] for answer in answers[1:]] == [Code.TIMED_OUT, Code.REFUSED, Code.REFUSED]
            assert str(answers).count("amqp://u:***@h") == 4
            assert "s3cret" not in str(answers)
    assert "retry: cannot copy amqp://u:***@h" in caplog.text


async def test_rights_come_from_the_kernel(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Rights(own_uid=-1, user_name=lambda _: "bob", group_number=lambda _: None, groups_of=lambda _: ())

    monkeypatch.setattr(module, "peer_of", lambda connection: Peer(os.getpid(), 1002, 100))

    async with nothing_running_after():
        controller = settled(VirtualClock())
        commands = commands_of(controller)
        server = ControlServer(short_path / "control.sock", commands=commands, rights=guest)
        await server.open()
        async with client(short_path) as one:
            error = (await one.ask("recycle"))["error"]
            assert error["code"] == Code.NOT_PERMITTED
            assert error["message"].startswith("cannot run trapctl recycle: bob (uid 1002) may only look")
            assert "result" in await one.ask("status")
        await server.close()
        assert controller.asked == []


async def test_a_change_goes_on_though_its_caller_left(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        begun, may_end = asyncio.Event(), asyncio.Event()
        pause = controller.pause

        async def slow(pool: str, *, actor: str) -> None:
            begun.set()
            await may_end.wait()
            await pause(pool, actor=actor)

        controller.pause = slow  # type: ignore[method-assign]
        async with serving(short_path, controller):
            async with client(short_path) as one:
                await one.send("rollout.pause", pool="default")
                await begun.wait()
            await until(lambda: under_way("rollout.pause") == [])
            may_end.set()
            await until(lambda: bool(controller.asked))


async def test_a_notification_is_carried_out_and_not_answered(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        async with serving(short_path, controller), client(short_path) as one:
            await one.send("rollout.pause", id=None, pool="default")
            await until(lambda: bool(controller.asked))
            assert (await one.ask("ping"))["id"] == 1


async def test_one_that_shut_its_sending_side_still_gets_its_answers(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with serving(short_path, controller), client(short_path) as one:
            await one.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1}}\n')
            one.writer.write_eof()
            assert (await one.answer())["params"]["rollout"]["state"] == "pending"
            controller.to("default", RolloutState.COMPLETE)
            await one.answer()
            assert (await one.answer())["result"]["rollout"]["state"] == "complete"
            assert await one.closed()


async def test_one_that_shut_its_sending_side_and_then_went_is_seen_to_be_gone(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LOOK_AGAIN", 0.02)

    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with serving(short_path, controller):
            async with client(short_path) as one:
                await one.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1}}\n')
                one.writer.write_eof()
                await one.answer()
            await until(lambda: under_way("rollout.wait") == [])


# --- waiting --------------------------------------------------------------------------------------------------------


async def test_a_waiting_client_hears_of_every_change_once_and_then_the_end(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with serving(short_path, controller), client(short_path) as one:
            await one.send("rollout.wait", id=1)
            await one.answer()  # an error: id is the request's; the rollout's is missing
            await one.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1}}\n')
            first = await one.answer()
            assert (first["method"], first["params"]["request"]) == ("progress", 7)
            assert first["params"]["rollout"]["state"] == "pending"
            controller.notify()  # nothing has changed in what is shown
            await until(lambda: controller._future is not None and not controller._future.done())
            controller.to("default", RolloutState.ROLLING)
            assert (await one.answer())["params"]["rollout"]["state"] == "rolling"
            controller.to("default", RolloutState.COMPLETE)
            assert (await one.answer())["params"]["rollout"]["state"] == "complete"
            last = await one.answer()
            assert (last["id"], last["result"]["rollout"]["state"]) == (7, "complete")
            assert last["result"]["superseded_by"] is None


async def test_a_follower_gets_each_event_after_its_cursor_once_and_new_ones_as_they_come(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        words = ("one", "two", "three")
        saved = controller.history.save(events=[Event(1.0, EventKind.RETRIED, word, pool="default") for word in words])
        async with serving(short_path, controller), client(short_path) as one:
            await one.send("events.follow", since=saved[0].id)
            for event in saved[1:]:
                said = (await one.answer())["params"]
                assert (said["id"], said["reason"]) == (event.id, event.reason)
            controller.notify()  # no event: nothing is sent
            await until(lambda: controller._future is not None and not controller._future.done())
            (last,) = controller.history.save(events=[Event(2.0, EventKind.SCALED, "four", pool="default")])
            controller.notify()
            assert (await one.answer())["params"]["id"] == last.id


async def test_one_that_waits_does_not_hold_up_others_on_its_own_connection(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with serving(short_path, controller), client(short_path) as one:
            await one.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1}}\n')
            await one.answer()
            assert (await one.ask("ping"))["id"] == 1


async def test_a_wait_that_times_out_says_how_far_it_is(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with serving(short_path, controller), client(short_path) as one:
            await one.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1,"timeout":0}}\n')
            await one.answer()
            error = (await one.answer())["error"]
            assert error["code"] == Code.TIMED_OUT
            assert error["message"].startswith("rollout 1 still goes on (pool default: 0 of 2 workers")
            assert error["data"]["rollout"]["id"] == 1


async def test_a_wait_for_a_superseded_rollout_names_its_successor(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="one")
        await controller.recycle(["default"], actor="root", reason="two")
        async with serving(short_path, controller), client(short_path) as one:
            await one.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1}}\n')
            await one.answer()
            result = (await one.answer())["result"]
            assert (result["rollout"]["state"], result["superseded_by"]) == ("superseded", 2)


async def test_what_is_under_way_is_given_up_when_its_client_goes_and_others_wait_on(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        wait = b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1}}\n'
        async with serving(short_path, controller), client(short_path) as stays:
            await stays.raw(wait)
            await stays.answer()
            async with client(short_path) as leaves:
                await leaves.raw(wait)
                await leaves.answer()
                assert len(under_way("rollout.wait")) == 2
            await until(lambda: len(under_way("rollout.wait")) == 1)
            controller.to("default", RolloutState.COMPLETE)  # the future that both awaited must not be cancelled
            await stays.answer()
            assert (await stays.answer())["result"]["rollout"]["state"] == "complete"


async def test_closing_ends_those_that_wait(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(serving(short_path, controller))
            one = await stack.enter_async_context(client(short_path))
            await one.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1}}\n')
            await one.answer()
            await server.close()
            assert await one.closed()


# --- clients that misbehave -----------------------------------------------------------------------------------------


async def test_one_that_never_reads_does_not_hold_up_others_and_is_given_up(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        controller.generation(8, reason="x" * 4_000_000)  # more than any socket buffer holds
        patience = Patience(silence=30.0, writing=0.1)
        async with serving(short_path, controller, patience), client(short_path) as deaf, client(short_path) as other:
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await deaf.send("generations")
            assert "result" in await other.ask("ping")
            await until(lambda: under_way("generations") == [])  # after 0.1 s
            assert "result" in await other.ask("ping")


async def test_one_that_says_nothing_is_given_up_but_not_while_it_waits(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        patience = Patience(silence=0.05, writing=30.0)
        async with serving(short_path, controller, patience), client(short_path) as waits:
            await waits.raw(b'{"jsonrpc":"2.0","id":7,"method":"rollout.wait","params":{"id":1}}\n')
            await waits.answer()
            async with client(short_path) as silent, client(short_path) as half:
                await half.raw(b'{"jsonrpc":')
                assert await silent.closed()
                assert await half.closed()
            controller.to("default", RolloutState.COMPLETE)
            assert (await waits.answer())["params"]["rollout"]["state"] == "complete"


async def test_an_endless_line_is_refused_and_ends_the_connection(short_path: Path) -> None:
    async with nothing_running_after(), serving(short_path), client(short_path) as one:
        with contextlib.suppress(ConnectionError):
            await one.raw(b"x" * (2 * MAX_REQUEST))
        assert "cannot read a request of more than" in (await one.answer())["error"]["message"]
        assert await one.closed()


async def test_too_many_requests_on_one_connection_are_refused_and_the_others_go_on(short_path: Path) -> None:
    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with serving(short_path, controller), client(short_path) as one:
            for number in range(17):
                await one.raw(b'{"jsonrpc":"2.0","id":%d,"method":"rollout.wait","params":{"id":1}}\n' % number)
            answers = [await one.answer() for _ in range(17)]
            (refused,) = [answer for answer in answers if "error" in answer]
            assert refused["id"] == 16
            assert len(under_way("rollout.wait")) == 16


WAIT = b'{"jsonrpc":"2.0","id":9,"method":"rollout.wait","params":{"id":1}}\n'


async def test_a_new_connection_takes_the_place_of_the_same_users_oldest_idle_one(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PER_USER", 3)

    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with serving(short_path, controller), contextlib.AsyncExitStack() as stack:
            busy, idle, idle_too = [await stack.enter_async_context(client(short_path)) for _ in range(3)]
            await busy.raw(WAIT)
            assert "result" in await idle.ask("ping")
            assert "result" in await idle_too.ask("ping")
            await until(lambda: bool(under_way("rollout.wait")))
            fourth = await stack.enter_async_context(client(short_path))
            assert "result" in await fourth.ask("ping")
            assert "this connection was idle" in (await idle.answer())["error"]["message"]
            assert await idle.closed()
            assert "result" in await idle_too.ask("ping")
            assert under_way("rollout.wait")


async def test_one_user_cannot_take_all_connections(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PER_USER", 2)

    async with nothing_running_after():
        controller = settled(VirtualClock())
        await controller.recycle(["default"], actor="root", reason="why")
        async with serving(short_path, controller), contextlib.AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(client(short_path)) for _ in range(2)]
            await first.raw(WAIT)
            await second.raw(WAIT)
            await until(lambda: len(under_way("rollout.wait")) == 2)
            third = await stack.enter_async_context(client(short_path))
            assert "cannot serve more than 2 connections" in (await third.answer())["error"]["message"]
            assert await third.closed()
            first.writer.close()
            await first.writer.wait_closed()
            await until(lambda: len([t for t in asyncio.all_tasks() if t.get_name().startswith("control pid")]) == 1)
            fourth = await stack.enter_async_context(client(short_path))
            assert "result" in await fourth.ask("ping")


async def test_garbage_of_every_kind_leaves_the_server_answering(short_path: Path) -> None:
    async with nothing_running_after(), serving(short_path), client(short_path) as good:
        for rubbish in (b"\0\n", os.urandom(500) + b"\n", b"GET / HTTP/1.1\r\n\r\n", b"[[[[\n", b"\xff\n"):
            async with client(short_path) as bad:
                await bad.raw(rubbish)
        assert "result" in await good.ask("ping")


# --- coming and going -----------------------------------------------------------------------------------------------


async def test_everybody_may_connect_and_the_socket_goes_when_the_server_does(short_path: Path) -> None:
    path = short_path / "run" / "control.sock"
    umask = os.umask(0o077)
    try:
        async with nothing_running_after():
            async with serving(path.parent):
                assert stat.S_IMODE(path.stat().st_mode) == 0o666
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
            assert not path.exists()
    finally:
        os.umask(umask)


async def test_what_a_killed_trapd_left_is_replaced(short_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(short_path / "control.sock"))
    left.close()

    async with nothing_running_after(), serving(short_path), client(short_path) as one:
        assert "result" in await one.ask("ping")


async def test_a_trapd_that_answers_there_is_left_alone(short_path: Path) -> None:
    async with nothing_running_after(), serving(short_path), client(short_path) as one:
        with pytest.raises(TrapdError, match=r"cannot listen on .*: another trapd answers there; stop it first"):
            async with serving(short_path):
                pass
        assert "result" in await one.ask("ping")


async def test_what_is_no_socket_is_left_alone(short_path: Path) -> None:
    (short_path / "control.sock").write_text("mine")

    async with nothing_running_after():
        with pytest.raises(TrapdError, match="that is not a socket; move it away"):
            async with serving(short_path):
                pass
    assert (short_path / "control.sock").read_text() == "mine"


async def test_the_socket_of_a_successor_is_not_removed(short_path: Path) -> None:
    async with nothing_running_after():
        async with serving(short_path):
            (short_path / "control.sock").unlink()
            successor = socket.socket(socket.AF_UNIX)
            successor.bind(str(short_path / "control.sock"))
            successor.close()
        assert (short_path / "control.sock").exists()


def test_closing_what_was_never_opened_does_nothing(short_path: Path) -> None:
    controller = settled(VirtualClock())
    commands = commands_of(controller)
    asyncio.run(ControlServer(short_path / "control.sock", commands=commands).close())


async def test_a_socket_that_somebody_removed_is_there_again(short_path: Path) -> None:
    path = short_path / "run"
    async with nothing_running_after(), serving(path) as server, client(path) as before:
        assert not await server.keep_listening()
        await asyncio.to_thread(shutil.rmtree, path)
        assert await server.keep_listening()
        async with client(path) as after:
            assert "result" in await after.ask("ping")
        assert "result" in await before.ask("ping")
    assert not (path / "control.sock").exists()


async def test_where_it_cannot_be_there_again_that_is_an_error(short_path: Path) -> None:
    path = short_path / "run"
    async with serving(path) as server:
        await asyncio.to_thread(shutil.rmtree, path)
        await asyncio.to_thread(path.touch)
        with pytest.raises(TrapdError, match=r"cannot listen on .*: Not a directory"):
            await server.keep_listening()
