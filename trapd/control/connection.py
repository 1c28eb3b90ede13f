"""One client: its requests are read, carried out side by side, answered, and given up when it goes away."""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from trapd.control.commands import Caller, Commands
from trapd.control.handlers import Document, StillGoingError
from trapd.control.protocol import (
    MAX_REQUEST,
    Code,
    Failed,
    Progress,
    ProtocolError,
    Request,
    Result,
    format_answer,
    parse_request,
)
from trapd.errors import NotPermittedError, RefusedError, TrapdError, UsageError
from trapd.masking import mask, masked

log = logging.getLogger(__name__)
_AT_ONCE = 16  # requests under way on one connection
_LOOK_AGAIN = 1.0  # s; how soon a client that only shut its sending side is seen to be gone


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. ``silence``: with nothing under way and nothing said; ``writing``: an answer that nobody reads."""

    silence: float = 60.0
    writing: float = 60.0


class Connection:
    """``serve`` returns when the client is gone, was given up, or the task is cancelled; it never raises for a client's
    doings, and leaves nothing open."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        commands: Commands,
        caller: Callable[[], Awaitable[Caller]],
        patience: Patience,
    ) -> None:
        self._reader, self._writer, self._commands, self._patience = reader, writer, commands, patience
        self._find_caller, self._caller = caller, asyncio.Lock()
        self._known: Caller | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        """Nothing that was asked for is under way."""
        return not self._under_way

    def displace(self) -> None:
        """End it, with the reason, to make room."""
        reason = "this connection was idle, and its user has opened too many others"
        self._writer.write(format_answer(Failed(None, Code.REFUSED, reason)))
        self._writer.close()

    async def serve(self) -> None:
        try:
            await self._read()
            await self._last_answers()
            self._writer.close()
            async with asyncio.timeout(self._patience.writing):
                await self._writer.wait_closed()  # until the last answer is taken
        except (ConnectionError, TimeoutError):
            pass  # it went away, or does not read: nobody is left to tell
        finally:
            for task in self._under_way:
                task.cancel()
            self._writer.transport.abort()  # before the next await: that may be where we are cancelled
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._patience.silence):
                    line = await self._reader.readuntil(b"\n")
            except TimeoutError:
                if self._under_way:
                    continue
                return None
            except asyncio.IncompleteReadError:  # the end, with or without half a line before it
                return None
            except asyncio.LimitOverrunError:
                message = f"cannot read a request of more than {MAX_REQUEST} bytes"
                return await self._send(Failed(None, Code.INVALID_REQUEST, message))
            await self._take(line)

    async def _take(self, line: bytes) -> None:
        try:
            request = parse_request(line)
            if len(self._under_way) >= _AT_ONCE:
                message = f"cannot do more than {_AT_ONCE} things at once on one connection: open another one"
                raise ProtocolError(Code.REFUSED, message, request.id)
        except ProtocolError as error:
            return await self._send(Failed(error.id, error.code, str(error)))
        task = asyncio.create_task(self._carry_out(request), name=f"control {request.method[:60]}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return None

    async def _last_answers(self) -> None:
        """After the end of what the client sends: ``printf ... | nc -N`` still waits for its answers, others do not."""
        while self._under_way and not self._gone():
            await asyncio.wait(set(self._under_way), timeout=_LOOK_AGAIN)

    def _gone(self) -> bool:
        """Did the client close the whole connection, and not only its sending side?"""
        number = self._writer.get_extra_info("socket").fileno()
        if number < 0:
            return True
        look = select.poll()
        look.register(number, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in look.poll(0))

    async def _carry_out(self, request: Request) -> None:
        async def report(document: Document) -> None:
            if request.answered:
                await self._send(Progress(request.id, document))

        try:
            answer = await self._answer(request, report)
            if request.answered:
                await self._send(answer)
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()  # wakes the reader, which ends the rest

    async def _answer(self, request: Request, report: Callable[[Document], Awaitable[None]]) -> Result | Failed:
        try:
            return Result(request.id, await self._commands.call(request, await self._who(), report))
        except ProtocolError as error:
            return Failed(request.id, error.code, str(error))
        except StillGoingError as error:
            return Failed(request.id, Code.TIMED_OUT, mask(str(error)), masked(error.data))
        except NotPermittedError as error:
            return Failed(request.id, Code.NOT_PERMITTED, str(error))
        except UsageError as error:
            return Failed(request.id, Code.USAGE, mask(str(error)))
        except RefusedError as error:
            return Failed(request.id, Code.REFUSED, mask(str(error)))
        except TrapdError as error:  # it was tried, and went wrong: the log has to tell as well
            log.warning("%s: %s", request.method, mask(str(error)))
            return Failed(request.id, Code.REFUSED, mask(str(error)))
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # a mistake of ours must not take the daemon or the connection with it
            log.exception("cannot carry out %s", request.method)
            text = f"cannot do {request.method}: internal error: {type(error).__name__}; see trapd's log"
            return Failed(request.id, Code.INTERNAL, text)

    async def _who(self) -> Caller:
        async with self._caller:
            if self._known is None:
                self._known = await self._find_caller()
            return self._known

    async def _send(self, answer: Progress | Result | Failed) -> None:
        self._writer.write(format_answer(answer))
        async with asyncio.timeout(self._patience.writing):
            await self._writer.drain()
