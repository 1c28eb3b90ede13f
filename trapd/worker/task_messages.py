"""How many messages of given tasks wait in this worker's queues: before code may go that knows these tasks.

Redis and the file broker show a queue's messages without taking them. RabbitMQ does not: a message that is looked at
counts as delivered, of which a quorum queue grants 20. There only an empty queue says that none is left.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery.worker import state

from trapd.worker import queues
from trapd.worker.waiting import TIMEOUTS

RESERVED = ""  # in the place of a queue's name
_AT_ONCE = 500  # messages of a list in Redis that are read with one command


class TaskMessages:
    """Of one worker. ``look`` is called by the socket's thread, which must not wait for the broker."""

    def __init__(self) -> None:
        self._found: Mapping[str, int | None] | None = None
        self._asked: frozenset[str] = frozenset()
        self._asking = False

    def look(self, worker: Any, tasks: Collection[str]) -> Mapping[str, int | None] | None:
        """Return the numbers as they were counted last for these tasks, with those that this worker has reserved now,
        and count the queues anew."""
        found = self._found if self._asked == frozenset(tasks) else None
        if not self._asking:
            self._asking = True
            threading.Thread(target=self._ask, args=(worker, frozenset(tasks)), daemon=True).start()
        waiting = list(state.reserved_requests.difference(state.active_requests))
        return found and {**found, RESERVED: sum(request.name in tasks for request in waiting)}

    def _ask(self, worker: Any, tasks: frozenset[str]) -> None:
        found = None
        try:
            consumer = worker.consumer
            consumed = queues.consumed(worker)
            found = count(consumer.connection, [q for q in consumer.task_consumer.queues if q.name in consumed], tasks)
        except Exception:  # of any transport: then it is not known
            found = None
        finally:
            self._found, self._asked, self._asking = found, tasks, False


def count(connection: Any, consumed: Iterable[Any], tasks: Collection[str]) -> dict[str, int | None]:
    """Return for each queue how many messages of these tasks it has; None where there are messages of any kind, and
    the broker does not show which. Raises what the transport raises."""
    options = {**(connection.transport_options or {}), **TIMEOUTS}
    own = connection.clone(
        alternates=[], heartbeat=0, connect_timeout=TIMEOUTS["read_timeout"], transport_options=options
    )
    found: dict[str, int | None] = {}
    try:
        own.connect()
        channel = own.channel()
        for queue in consumed:
            messages = _messages(channel, own.transport.driver_type, queue.name)
            if messages is None:
                found[queue.name] = None if channel.queue_declare(queue=queue.name, passive=True).message_count else 0
            else:
                found[queue.name] = sum(_task(message) in tasks for message in messages)
    finally:
        own.release()
    return found


def _messages(channel: Any, kind: str, queue: str) -> Iterator[Any] | None:
    if kind == "redis":
        return _of_redis(channel, queue)
    return _of_files(channel, queue) if kind == "filesystem" else None


def _of_redis(channel: Any, queue: str) -> Iterator[Any]:
    for priority in channel.priority_steps:
        name, begin = channel._q_for_pri(queue, priority), 0
        while messages := channel.client.lrange(name, begin, begin + _AT_ONCE - 1):
            yield from messages
            begin += _AT_ONCE


def _of_files(channel: Any, queue: str) -> Iterator[Any]:
    for path in Path(channel.data_folder_in).glob(f"*.{queue}.msg"):
        with suppress(OSError):  # taken meanwhile
            yield path.read_bytes()


def _task(message: Any) -> str:
    """The name, of either version of the message protocol."""
    with suppress(ValueError, KeyError, TypeError):
        found = json.loads(message)
        if "task" in found["headers"]:
            return str(found["headers"]["task"])
        return str(json.loads(base64.b64decode(found["body"]))["task"])
    return ""
