"""The brokers of the tests themselves: what is sent arrives, and one test does not see another's messages."""

from __future__ import annotations

import contextlib
import multiprocessing
from queue import Empty

import pytest

from tests.conftest import make_broker
from tests.support.brokers import Broker


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


def test_the_embedded_broker_never_hands_out_half_a_message(request: pytest.FixtureRequest) -> None:
    """kombu's own transport does: it takes a file that is still being written, loses it, and the consumer dies."""
    broker = make_broker("embedded", request)
    sender = multiprocessing.get_context("fork").Process(target=_send, args=(broker, 300))
    sender.start()
    received = _receive(broker, 300)
    sender.join()
    assert received == list(range(300))


def _send(broker: Broker, count: int) -> None:
    with (
        broker.app().connection_for_write() as connection,
        contextlib.closing(connection.SimpleQueue(broker.queue)) as queue,
    ):
        for number in range(count):
            queue.put({"number": number, "weight": "x" * 100_000})


def _receive(broker: Broker, count: int) -> list[int]:
    """Ask again and again, as fast as it goes: the aim is to ask just while a message is being written."""
    numbers: list[int] = []
    with (
        broker.app().connection_for_read() as connection,
        contextlib.closing(connection.SimpleQueue(broker.queue)) as queue,
    ):
        while len(numbers) < count:
            with contextlib.suppress(Empty):
                message = queue.get_nowait()
                message.ack()
                numbers.append(message.payload["number"])
    return sorted(numbers)
