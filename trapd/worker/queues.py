"""The queues that this worker consumes, and the queue that a message came from; without a question to the broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


class Queues:
    """What was known when the latest message came. Celery's loop writes, any thread reads."""

    def __init__(self) -> None:
        self._consumer: Any = None
        self._tags: Mapping[str, str] = {}  # RabbitMQ's name for a consumer -> its queue
        self._routes: Mapping[tuple[str, str], str] = {}  # exchange and routing key -> queue
        self._number = -1

    def follow(self, consumer: Any) -> None:
        """Cheap, for each message: kombu's consumer of tasks is the same as before, with as many queues."""
        if consumer is None or (consumer is self._consumer and len(consumer._active_tags) == self._number):
            return
        self._consumer, self._number = consumer, len(consumer._active_tags)
        self._tags = {tag: name for name, tag in consumer._active_tags.items()}
        routes = [((queue.exchange.name, queue.routing_key), queue.name) for queue in consumer.queues]
        shared = Counter(route for route, _ in routes)
        self._routes = {route: name for route, name in routes if shared[route] == 1}

    def of(self, message: Any) -> str | None:
        """The name of the queue that a message came from; None where that cannot be told."""
        info = message.delivery_info or {}
        if found := self._tags.get(str(info.get("consumer_tag"))):
            return found
        # kombu's own transports say only how the message was sent
        route = str(info.get("exchange") or ""), str(info.get("routing_key") or "")
        names = set(self._tags.values())
        if found := self._routes.get(route) or (route[1] if route[0] == "" and route[1] in names else None):
            return found
        return next(iter(names)) if len(names) == 1 else None


def consumed(worker: Any) -> list[str]:
    """The queues that the worker consumes now; none while it drains, or before its first connection."""
    consumer = getattr(getattr(worker, "consumer", None), "task_consumer", None)
    return sorted(dict(getattr(consumer, "_active_tags", {})))
