"""More room for tasks that wait for their time, where the prefetch of a running consumer cannot be raised.

A scheduled task (eta, countdown, a retry with a pause) is held by its worker, and Celery raises the channel's prefetch
by one for it. RabbitMQ's quorum queues know no prefetch of a channel, and with RabbitMQ 4 kombu 5.7 uses none for any
queue: what is set counts for consumers that come later. So with prefetch 1 a scheduled task takes the only slot, and
plain Celery stands still until its time has come (5.7 on RabbitMQ 3.10.8 with quorum queues, on 4.0.5 with all). Here
the consumer is replaced by another one on the same channel, which has its whole prefetch to itself; what the old one
was sent remains its own until it is acknowledged.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.utils.quorum_queues import detect_quorum_queues


class Room(bootsteps.StartStopStep):  # type: ignore[misc]
    """Of the consumer: replaces what its QoS does when it is to have more room. Its loop asks for that once a turn."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        if is_per_consumer(consumer):
            consumer.qos.callback = Renewal(consumer).to


class Renewal:
    """Of the consumer of one connection."""

    def __init__(self, consumer: Any) -> None:
        self._consumer, self._room = consumer, consumer.qos.value

    def to(self, prefetch_count: int) -> None:
        """Called with what there should be room for in all; less room comes by itself."""
        more, self._room = prefetch_count > self._room, prefetch_count
        tasks = self._consumer.task_consumer
        if not more or tasks is None:
            return
        tasks.cancel()  # it may still be sent something before the broker has heard of it, and takes that too
        tasks.qos(prefetch_count=self._consumer.initial_prefetch_count, apply_global=False)
        tasks.consume()


def is_per_consumer(consumer: Any) -> bool:
    """Is the prefetch one that cannot be raised, and may the consumer be replaced?"""
    connection, arguments = (
        consumer.connection,
        [queue.queue_arguments or {} for queue in consumer.task_consumer.queues],
    )
    transport = connection.transport.driver_type
    if transport != "amqp" or not consumer.initial_prefetch_count:
        return False
    if any(each.get("x-single-active-consumer") for each in arguments):
        return False  # another worker would become the active one
    if connection.qos_semantics_matches_spec:
        return True
    return bool(consumer.app.conf.worker_detect_quorum_queues and detect_quorum_queues(consumer.app, transport)[0])
