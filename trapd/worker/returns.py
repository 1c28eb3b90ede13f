"""What a drain gives back to the broker.

RabbitMQ's quorum queues count each return as a delivery, and drop a message after 20 (RabbitMQ 4; there is no way to
return one that does not count, tried on 3.10.8 and 4.0.5). A task that is scheduled for next week is held by some
worker all the time, so each recycle costs it one. What has been returned some times goes back as a copy that starts at
none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from celery.utils.log import get_logger

from trapd.worker.parking import Parking

log = get_logger("trapd.worker")

COUNT = "x-delivery-count"  # of returns, in the headers of what a quorum queue delivers again
OFTEN = 3  # a copy comes behind what waits, and a return does not: so only where it matters
_ORIGIN = "trapd_origin"


def often(message: Any) -> bool:
    """Has it been returned so often that one return more may be one too many?"""
    return int((message.headers or {}).get(COUNT) or 0) >= OFTEN


def note_origin(message: Any, queue: Any) -> None:
    """While it is known: the consumer that it came by may be gone at the drain."""
    if queue is not None:
        setattr(message, _ORIGIN, queue.name)


def give_back(messages: Iterable[Any], consumer: Any, returned: Callable[[Any], None] = lambda message: None) -> None:
    """Those that are not settled yet; ``returned`` hears of each. Called when nothing more is consumed: else the worker
    gets them itself."""
    lot = Parking(consumer.app)
    for message in messages:
        if message.acknowledged:
            continue
        if not _renewed(message, lot, consumer):
            message.reject_log_error(log, consumer.connection_errors, requeue=True)
        if message.acknowledged:
            returned(message)
    lot.close()


def _renewed(message: Any, lot: Parking, consumer: Any) -> bool:
    queue = getattr(message, _ORIGIN, None)
    if queue is None:
        return False
    try:
        lot.again(message, queue)
    except Exception as error:  # each transport has errors of its own
        lot.close()
        log.warning("cannot return a message to %s as a copy: %r; this return counts as a delivery", queue, error)
        return False
    message.ack_log_error(log, consumer.connection_errors)
    return True
