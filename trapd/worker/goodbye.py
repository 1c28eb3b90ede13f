"""A worker whose work is done does not wait without end for a broker that does not answer its goodbye.

At its end Celery closes channels and connections, and waits for the broker's answer to each. py-amqp sets no time
limit (5.3), so the worker stayed as long as the broker was silent: a RabbitMQ that stood still, and once in some 20
times one that had just closed the worker's channel (consumer_timeout) and never answered for the next one. Plain Celery
does the same (5.7, RabbitMQ 3.10.8). Nothing is lost: what was acknowledged was sent before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PATIENCE = 2.0  # s for each answer, up to four at the end; a broker that is alive takes milliseconds


def limit(worker: Any, patience: float = PATIENCE) -> None:
    """Let ``worker``, a WorkController of Celery, wait at most ``patience`` seconds for each answer once its pool has
    stopped.
    """
    stopped = worker.blueprint.on_stopped

    def limited() -> None:
        for socket in _sockets(worker.consumer):
            socket.settimeout(patience)
        stopped()

    worker.blueprint.on_stopped = limited


def _sockets(consumer: Any) -> Iterator[Any]:
    """Of the connections that are open, if their transport has a socket: py-amqp's."""
    events = getattr(consumer, "event_dispatcher", None)
    for connection in (getattr(consumer, "connection", None), getattr(events, "connection", None)):
        if connection is None or not connection.connected:
            continue
        socket = getattr(getattr(connection.connection, "transport", None), "sock", None)
        if socket is not None:
            yield socket
