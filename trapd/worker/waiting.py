"""How many messages wait in this worker's queues: one passive declare for each, over a connection made for it.

kombu has the passive declare in every transport. The connection is not the consumer's: that may be what is broken, and
belongs to another thread. It is made for each question, which comes once a minute at most for each queue, and only
while the worker has room for a task: one that is kept would need heartbeats, and might be half dead itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery.worker import state
from celery.worker.request import Request

PATIENCE = 10.0  # s for each step of the question
TIMEOUTS = {
    **dict.fromkeys(("read_timeout", "write_timeout"), PATIENCE),  # py-amqp's names
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), PATIENCE),  # redis-py's
}


def waiting(connection: Any, queues: Iterable[Any]) -> Mapping[str, int] | None:
    """Return the queues in which messages wait for this worker, with their numbers; None if the broker does not answer.

    ``connection``: the consumer's, to whose very broker another one is made. ``queues``: kombu's, as consumed.
    """
    found: dict[str, int] = {}
    options = {**(connection.transport_options or {}), **TIMEOUTS}
    own = connection.clone(alternates=[], heartbeat=0, connect_timeout=PATIENCE, transport_options=options)
    try:
        own.connect()
        for queue in queues:
            messages, consumers = _look(own, queue.name)
            if messages and not is_stream(queue) and not (consumers and shared_unevenly(queue)):
                found[queue.name] = messages
    except Exception:  # of any transport: a broker that does not answer here proves nothing against the worker
        return None
    finally:
        own.release()
    return found


def _look(connection: Any, name: str) -> tuple[int, int]:
    """Messages and consumers; (0, 0) for a queue that is not there, or that only its owner may look at. A refusal
    closes the channel, so each queue has one of its own."""
    channel = connection.channel()
    try:
        answer = channel.queue_declare(queue=name, passive=True)
    except connection.channel_errors:
        return 0, 0
    finally:
        if getattr(channel, "connection", None) is not None:
            channel.close()
    # kombu's own transports do not count consumers; whoever asks consumes, so that there is one
    counts = answer.consumer_count if connection.transport.driver_type == "amqp" else 1
    return int(answer.message_count), int(counts)


def shared_unevenly(queue: Any) -> bool:
    """Messages may wait in it while this consumer gets none, and all is well: RabbitMQ gives those of a queue with a
    single active consumer to that one, and SQS keeps the order within a group."""
    arguments = queue.queue_arguments or {}
    return bool(arguments.get("x-single-active-consumer") or queue.name.endswith(".fifo"))


def is_stream(queue: Any) -> bool:
    """A stream of RabbitMQ keeps what was read, so its number of messages says nothing; and its consumers are not
    counted (seen on 3.10: 0 of 1). One that Celery does not declare is known by where its consumer begins."""
    declared, consumed = queue.queue_arguments or {}, queue.consumer_arguments or {}
    return declared.get("x-queue-type") == "stream" or "x-stream-offset" in consumed


def fed_evenly(consumer: Any) -> bool:
    """Does the broker give of each queue in turn? Redis may be told to empty one before it looks into the next, and a
    priority of consumers (RabbitMQ) prefers others."""
    options = consumer.connection.transport_options or {}
    if options.get("queue_order_strategy") in ("priority", "sorted"):
        return False
    return not any("x-priority" in (queue.consumer_arguments or {}) for queue in consumer.task_consumer.queues)


def has_room(consumer: Any) -> bool:
    """Would the broker deliver more? Not if tasks with an ETA, or that a rate limit holds back, fill the prefetch."""
    limit = consumer.qos.value if consumer.qos is not None else 0
    if not limit:
        return True
    scheduled = sum(_is_task(entry) for entry in list(consumer.timer.schedule.queue))
    limited = sum(len(bucket.contents) for bucket in list(consumer.task_buckets.values()) if bucket is not None)
    return len(state.reserved_requests) + scheduled + limited < limit


def _is_task(waiting: Any) -> bool:
    arguments: Any = getattr(waiting.entry, "args", None)
    return bool(arguments) and isinstance(arguments[0], Request)
