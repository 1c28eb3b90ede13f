"""The brokers of the tests themselves: what is sent arrives, and one test does not see another's messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from queue import Empty

import pytest

from tests.conftest import make_broker
from tests.support.brokers import Broker
from tests.support.half_messages import MESSAGES

ROOT = Path(__file__).parents[2]


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
    options = json.dumps(broker.settings()["broker_transport_options"])
    command = [sys.executable, "-m", "tests.support.half_messages", options, broker.queue]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=50)
    assert sorted(json.loads(done.stdout)) == list(range(MESSAGES)), done.stderr
