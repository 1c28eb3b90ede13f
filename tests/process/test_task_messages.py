"""How many messages of given tasks wait in a queue, counted without taking any."""

from __future__ import annotations

import pytest
from kombu import Queue

from tests.conftest import make_broker
from tests.support.worker_lab import client_warnings
from trapd.worker.task_messages import count

pytestmark = client_warnings


@pytest.mark.parametrize("kind", ["rabbitmq", "redis", "embedded"])
def test_messages_of_a_task_are_counted_and_stay(kind: str, request: pytest.FixtureRequest) -> None:
    broker = make_broker(kind, request)
    queue = Queue(broker.queue)
    with broker.app() as app, app.connection_for_write() as connection:
        queue.bind(connection.default_channel).declare()

        def counted(*tasks: str) -> int | None:
            return count(connection, [queue], tasks)[broker.queue]

        assert counted("proj.gone") == 0
        for priority, task in enumerate(["proj.gone", "proj.other", "proj.gone"]):
            app.send_task(task, ignore_result=True, priority=3 * priority)
        shown = kind != "rabbitmq"  # RabbitMQ shows no message without a delivery
        for _ in range(2):
            assert counted("proj.gone") == (2 if shown else None)
            assert counted("proj.gone", "proj.other") == (3 if shown else None)
            assert counted("proj.never") == (0 if shown else None)
