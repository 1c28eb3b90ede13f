"""The system bus: a connection, calls with a deadline, signals. No other file imports dbus_fast."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dbus_fast import BusType, Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError
from dbus_fast.unpack import unpack_variants

CALL_TIMEOUT = 10.0  # s; an answer takes 0.1 to 30 ms, and no library gives up by itself when the bus is stopped
_BUS, _BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
_ERROR = "org.freedesktop.DBus.Error."
# Errors of the bus: the receiver of the call is not there, or has left before it answered.
_GONE = frozenset(_ERROR + name for name in ("NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected", "Timeout"))


class BusError(Exception):
    """An answer that is an error: its D-Bus name, and its message."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        super().__init__(f"{text} ({name})")


class LostError(Exception):
    """No answer: the connection is gone, or the receiver of the call is. The call may have had its effect, or not."""


@dataclass(frozen=True, slots=True)
class Signal:
    path: str
    interface: str
    member: str
    body: list[Any]  # plain values, without D-Bus variants


class Bus:
    """One connection, from ``connect`` to ``close``; a lost connection is not used again.

    ``deliver`` is called for each signal that matches a rule of ``match``, in the order in which signals come.
    """

    def __init__(self, address: str | None, deliver: Callable[[Signal], None]) -> None:
        self._address, self._deliver = address, deliver
        self._bus: MessageBus | None = None
        self._why = "closed"

    async def connect(self, timeout: float = CALL_TIMEOUT) -> None:
        """Connect. Raises LostError if there is no bus, or if it does not answer in ``timeout`` seconds."""
        try:
            bus = MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM)
            async with asyncio.timeout(timeout):
                await bus.connect()
        except (TimeoutError, OSError, EOFError, DBusFastError) as error:
            raise LostError(f"cannot connect to the system bus: {_words(error)}") from error
        bus.add_message_handler(self._receive)
        # A task that nothing awaits directly: a cancelled waiter must not end the task for other waiters.
        self._end = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        self._bus = bus

    async def match(self, **rule: str) -> None:
        """Pass signals that match the rule on to ``deliver``. Raises BusError and LostError."""
        text = ",".join(f"{key}='{value}'" for key, value in {"type": "signal", **rule}.items())
        await self.call(_BUS, _BUS_PATH, _BUS, "AddMatch", "s", text)

    async def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *body: Any
    ) -> list[Any]:
        """Return the values of the answer. Raises BusError if the answer is an error, LostError if none comes in
        CALL_TIMEOUT."""
        if self._bus is None or not self._bus.connected:
            raise LostError("cannot ask: not connected to the system bus")
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            flags=MessageFlag.NO_AUTOSTART,
        )
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._bus.call(message)
        except (TimeoutError, OSError, EOFError) as error:
            if isinstance(error, TimeoutError):
                self._give_up()
            raise LostError(f"no answer to {member}: {_words(error)}") from error
        if answer.message_type is MessageType.ERROR:
            text = str(answer.body[0]) if answer.body else ""
            if answer.error_name in _GONE:
                raise LostError(f"no answer to {member}: {text}")
            raise BusError(answer.error_name or "", text)
        return list(unpack_variants(answer.body))

    async def lost(self) -> str:
        """Wait until the connection is lost or closed, and return the reason."""
        await asyncio.wait([self._end])
        error = self._end.exception()
        return self._why if error is None else _words(error)

    async def close(self) -> None:
        """Close the connection; pending calls raise LostError. A second call does nothing."""
        bus, self._bus = self._bus, None
        if bus is not None:
            if bus.connected:
                bus.disconnect()
            await asyncio.wait([self._end], timeout=1.0)
            with contextlib.suppress(asyncio.InvalidStateError):
                self._end.exception()  # asyncio warns about an exception that was never retrieved

    def _give_up(self) -> None:
        """Disconnect after a call without an answer, because later messages may be missing, too; then connect anew."""
        if self._bus is not None and self._bus.connected:
            self._why = f"no answer in {CALL_TIMEOUT:g} s"
            self._bus.disconnect()

    def _receive(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL:
            body = list(unpack_variants(message.body))
            self._deliver(Signal(message.path or "", message.interface or "", message.member or "", body))


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, EOFError):
        return "the bus closed the connection"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
