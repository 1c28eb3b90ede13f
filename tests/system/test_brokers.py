"""The brokers of the tests themselves: what is sent arrives, and one test does not see another's messages."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing.queues import SimpleQueue
from queue import Empty
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import filesystem

from tests.conftest import make_broker
from tests.support.brokers import Broker
from trapd.worker import file_broker


def test_a_message_sent_is_received_once(broker: Broker) -> None:
    with broker.app().connection_for_write() as connection:
        queue = connection.SimpleQueue(broker.queue)
        queue.put({"hello": broker.kind})
        message = queue.get(timeout=10)
        message.ack()
        assert message.payload == {"hello": broker.kind}
        with pytest.raises(Empty):
            queue.get_nowait()
        queue.close()


def test_the_next_test_starts_with_an_empty_queue(broker: Broker) -> None:
    with broker.app().connection_for_read() as connection:
        queue = connection.SimpleQueue(broker.queue)
        with pytest.raises(Empty):
            queue.get_nowait()
        queue.close()


def test_no_worker_takes_half_a_message_of_kombus_own_producer(request: pytest.FixtureRequest) -> None:
    """kombu's own consumer does: it takes a file that is still being written, loses it, and dies of it."""
    broker = make_broker("embedded", request)
    fork = multiprocessing.get_context("fork")
    received = fork.SimpleQueue()
    with _queue(broker, file_broker.Transport):
        pass  # so it is bound: two of kombu's own, if they are the first, empty each other's table (decision record 1)
    senders = [fork.Process(target=_send, args=(broker, range(first, 300, 2))) for first in (0, 1)]
    takers = [fork.Process(target=_receive, args=(broker, received)) for _ in range(2)]
    for process in [*takers, *senders]:
        process.start()
    try:
        assert sorted(received.get() for _ in range(300)) == list(range(300))
    finally:
        for process in [*takers, *senders]:
            process.kill()
            process.join()
            process.close()


@contextlib.contextmanager
def _queue(broker: Broker, transport: type) -> Iterator[Any]:
    options = broker.settings()["broker_transport_options"]
    with (
        Connection("filesystem://", transport=transport, transport_options=options) as connection,
        contextlib.closing(connection.SimpleQueue(broker.queue)) as queue,
    ):
        yield queue


def _send(broker: Broker, numbers: range) -> None:
    with _queue(broker, filesystem.Transport) as queue:
        for number in numbers:
            queue.put({"number": number, "weight": "x" * 100_000})


def _receive(broker: Broker, received: SimpleQueue[int]) -> None:
    """Ask again and again, as fast as it goes: the aim is to ask just while a message is being written."""
    with _queue(broker, file_broker.Transport) as queue:
        while True:
            with contextlib.suppress(Empty):
                message = queue.get_nowait()
                message.ack()
                received.put(message.payload["number"])
