"""The brokers of the tests themselves: what is sent arrives, and one test does not see another's messages."""

from __future__ import annotations

from queue import Empty

import pytest
from kombu import Connection

from tests.support.brokers import Broker


def test_a_message_sent_is_received_once(broker: Broker) -> None:
    url, options = str(broker.settings["broker_url"]), dict(broker.settings["broker_transport_options"])
    with Connection(url, transport_options=options) as connection:
        queue = connection.SimpleQueue(broker.queue)
        queue.put({"hello": broker.kind})
        message = queue.get(timeout=10)
        message.ack()
        assert message.payload == {"hello": broker.kind}
        with pytest.raises(Empty):
            queue.get_nowait()
        queue.close()


def test_the_next_test_starts_with_an_empty_queue(broker: Broker) -> None:
    app = broker.app()
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(broker.queue)
        with pytest.raises(Empty):
            queue.get_nowait()
        queue.close()
