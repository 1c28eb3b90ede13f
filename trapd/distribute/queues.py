"""The queue that a user names, where Celery's configuration does not."""

from __future__ import annotations

from celery import Celery
from kombu import Exchange, Queue


def named(app: Celery, name: str) -> str | Queue:
    """Return what Celery sends to this queue with.

    Celery makes a queue that its configuration does not name. An account that may only submit may not do that, and its
    configuration says of each queue that it is there already (etc/celeryconfig-submitter.py): so it is of this one.
    """
    known = list(app.amqp.queues.values())
    if name in app.amqp.queues or not known or not all(queue.no_declare for queue in known):
        return name
    exchange = Exchange(name, known[0].exchange.type, no_declare=True)  # type: ignore[no-untyped-call]
    return Queue(name, exchange, name, no_declare=True)  # type: ignore[no-untyped-call]
