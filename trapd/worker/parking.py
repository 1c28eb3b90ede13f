"""A queue beside a queue, ``QUEUE.trapd-parked``, for messages that nobody who reads the queue can use for now.

A message is published there, confirmed by the broker, and only then acknowledged where it came from; and so on the way
back. A crash in between leaves two messages, never none. A message that moves is a new message to the broker: of the 20
deliveries that a quorum queue grants, neither parking nor coming back uses up any.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any

SUFFIX = ".trapd-parked"
HEADER = "trapd-parked"  # of the message: a dictionary, see `Parking.park`
# Tried on these. Elsewhere each look may cost money (SQS), or there is nothing to be gained.
TRANSPORTS = ("amqp", "redis", "filesystem")
PATIENCE = 5.0  # s for each answer of the broker: the caller is the worker's main loop, under its watchdog
_NOT_CARRIED = {  # what the broker or kombu sets anew; a user_id would have to be the one of our own connection
    "application_headers",
    "body_encoding",
    "content_encoding",
    "content_type",
    "delivery_info",
    "delivery_mode",
    "delivery_tag",
    "expiration",
    "priority",
    "user_id",
}
_PERSISTENT = 2


class Verdict(Enum):
    """What becomes of a parked message."""

    STAYS = "stays"  # at the end of the parking queue
    DROPPED = "dropped"  # it is acknowledged, and gone: a person ordered that
    BACK = "back"  # to its queue, as it came


Judge = Callable[[Mapping[str, Any]], Verdict]


class Parking:
    """The parking queues of one worker, over a connection of their own that is opened when it is first needed.

    Every method may raise whatever the transport raises; the message is then still where it was. Call `close` then.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection: Any = None
        self._channel: Any = None
        self._made: set[str] = set()

    def park(self, message: Any, queue: Any, id: str, task: str, more: Mapping[str, Any] | None = None) -> None:
        """Move it from ``queue`` (kombu's), of which it was received. The caller acknowledges it afterwards. ``more``
        is added to its mark."""
        info = message.delivery_info or {}
        mark = {
            "id": id,
            "task": task,
            "token": uuid.uuid4().hex,  # of this copy: one that was parked twice has two
            "since": time.time(),
            "exchange": info.get("exchange") or "",
            "routing_key": info.get("routing_key") or queue.name,
            "redelivered": bool(info.get("redelivered")),
            "expiration": str((message.properties or {}).get("expiration") or ""),  # ms; it would expire unseen here
            **(more or {}),
        }
        self._open()
        self._declare(queue)
        self._publish(queue.name + SUFFIX, message, mark)

    def again(self, message: Any, queue: str) -> None:
        """Publish a copy to its own queue, of which no delivery has been counted. The caller acknowledges it."""
        self._open()
        self._publish(queue, message, _mark_of_origin(message), _expiration(message))

    def waiting(self, queue: Any) -> int:
        """How many messages are parked beside ``queue``; makes the parking queue if there is none."""
        self._open()
        return int(self._declare(queue))

    def walk(self, queue: Any, judge: Judge, at_most: int, seconds: float) -> int:
        """Judge messages from the head of the parking queue; how many of them left it for their queue.

        A walk that broke off between the confirmation of a copy and the acknowledgement leaves both, with one token;
        the broker marks the older one as redelivered. Such a message is kept in hand until the end of the walk: a
        second message with its token is then a duplicate for certain. (Seen after a broker stood still for seconds.)
        """
        until, left, tokens = time.monotonic() + seconds, 0, dict[str, str]()
        suspects: dict[str, Any] = {}
        for _ in range(at_most):
            message = self._get(queue.name + SUFFIX) if time.monotonic() < until else None
            if message is None:
                break
            mark = message.headers.get(HEADER) or {}
            id, token = str(mark.get("id")), str(mark.get("token"))
            if token in suspects:
                message.ack()
            elif tokens.setdefault(id, token) != token and mark.get("redelivered"):
                message.ack()  # the broker delivered it anew though it was parked: who parked it was killed just then
            elif mark and ((message.delivery_info or {}).get("redelivered") or mark.get("suspect")):
                suspects[token] = message
            else:
                left += self._judge(queue, message, mark, judge)
        for message in suspects.values():
            left += self._judge(queue, message, message.headers[HEADER] | {"suspect": True}, judge)
        return left

    def _judge(self, queue: Any, message: Any, mark: dict[str, Any], judge: Judge) -> bool:
        """Did it leave the parking queue?"""
        verdict = judge(mark) if mark else Verdict.BACK
        if verdict is Verdict.STAYS:
            self._publish(queue.name + SUFFIX, message, mark)
        elif verdict is Verdict.BACK:
            self._return(queue.name, message, mark)
        message.ack()
        return verdict is not Verdict.STAYS

    def close(self) -> None:
        """Without waiting for the broker."""
        connection, self._connection, self._channel = self._connection, None, None
        self._made.clear()
        if connection is not None:
            with suppress(Exception):  # it may be broken, which may be why
                raw = connection._connection  # of py-amqp: to close that politely is to wait for an answer
                raw.collect() if hasattr(raw, "collect") else connection.collect()

    def _open(self) -> None:
        if self._channel is not None:
            return
        amqp = {"confirm_publish": True, "read_timeout": PATIENCE, "write_timeout": PATIENCE}
        redis = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
        kind = self._app.connection_for_read().transport.driver_type
        self._connection = self._app.connection_for_read(
            heartbeat=0,
            connect_timeout=PATIENCE,
            transport_options={"amqp": amqp, "redis": redis}.get(kind, {}),
        )
        self._connection.ensure_connection(max_retries=1, timeout=PATIENCE)
        self._channel = self._connection.channel()

    def _declare(self, queue: Any) -> int:
        """The number of messages in it. Its kind is that of the queue beside it: as safe, and no safer."""
        name, amqp = queue.name + SUFFIX, self._connection.transport.driver_type == "amqp"
        if not amqp or name not in self._made:
            kind = {key: value for key, value in (queue.queue_arguments or {}).items() if key == "x-queue-type"}
            try:
                count = self._channel.queue_declare(queue=name, durable=True, auto_delete=False, arguments=kind)[1]
                self._made.add(name)
                return int(count)
            except self._connection.channel_errors:  # of another kind by now, or not ours to make
                self._channel = self._connection.channel()
                self._made.add(name)
        return int(self._channel.queue_declare(queue=name, passive=True)[1])

    def _get(self, name: str) -> Any:
        raw = self._channel.basic_get(queue=name)
        return None if raw is None else self._channel.message_to_python(raw)

    def _return(self, queue: str, message: Any, mark: Mapping[str, Any]) -> None:
        kept: dict[str, Any] = {}
        if mark.get("exchange"):  # else it is published just as it was the first time
            kept = {key: mark[key] for key in ("exchange", "routing_key")}
        self._publish(queue, message, kept, _remaining(mark))

    def _publish(self, queue: str, message: Any, mark: Mapping[str, Any], expiration: str = "") -> None:
        headers = {key: value for key, value in message.headers.items() if key not in (HEADER, "x-delivery-count")}
        if not message.errors:
            headers.pop("compression", None)  # kombu has undone it
        if mark:
            headers[HEADER] = dict(mark)
        carried = {key: value for key, value in (message.properties or {}).items() if key not in _NOT_CARRIED}
        carried["delivery_mode"] = _PERSISTENT
        if expiration:
            carried["expiration"] = expiration
        fresh = self._channel.prepare_message(
            message.body,
            priority=(message.properties or {}).get("priority"),
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=headers,
            properties=carried,
        )
        # the nameless exchange leads to the queue itself, and to no other
        options = {"mandatory": True} if self._connection.transport.driver_type == "amqp" else {}
        self._channel.basic_publish(fresh, exchange="", routing_key=queue, **options)


def restore_route(message: Any) -> None:
    """A task of a message that came back sees the exchange and the routing key that it was sent with."""
    mark = message.headers.get(HEADER) if message.headers else None
    if mark and mark.get("exchange"):
        message.delivery_info.update(exchange=mark["exchange"], routing_key=mark["routing_key"])


def _mark_of_origin(message: Any) -> dict[str, Any]:
    """For a message that goes back to its queue from a worker, not from the parking queue."""
    info = message.delivery_info or {}
    return {key: info[key] for key in ("exchange", "routing_key")} if info.get("exchange") else {}


def _expiration(message: Any) -> str:
    return str((message.properties or {}).get("expiration") or "")


def _remaining(mark: Mapping[str, Any]) -> str:
    """Milliseconds that are left of the message's time to live, which went on while it was parked."""
    if not mark.get("expiration"):
        return ""
    return str(max(1, int(float(mark["expiration"]) - 1000 * (time.time() - mark["since"]))))
