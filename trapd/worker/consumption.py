"""This worker's own look at whether it consumes: what its process knows goes to the judge (worker/consuming.py), and
the judge's verdict to Health, which tells it. The reporter's thread looks, once a second; that costs microseconds.

The broker is asked by a thread that lives as long as the question. It is one of the standard library, so that it is a
greenlet where gevent or eventlet replace those: sockets that they have replaced cannot be used in a thread of the
kernel, and a greenlet that waits in one keeps nobody waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from celery.worker import state

from trapd.worker import queues, waiting
from trapd.worker.consuming import Consuming, Seen
from trapd.worker.health import Health, Phase
from trapd.worker.standing import BROKER
from trapd.worker.tally import Tally


class Consumption:
    """Begins when the pool has started."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._judge = Consuming(time.monotonic())
        self._worker: Any = None
        self._configured: frozenset[str] = frozenset()
        self._asking = False

    def begin(self, worker: Any) -> None:
        """Before the first connection: later remote control may have changed the queues."""
        self._configured = frozenset(queue.name for queue in worker.app.amqp.queues.consume_from.values())
        self._worker = worker

    def look(self, health: Health) -> None:
        """In the reporter's thread, before it speaks."""
        now, consumer = time.monotonic(), getattr(self._worker, "consumer", None)
        serves = health.phase is Phase.READY and health.away in ("", BROKER)
        if not serves or consumer is None or consumer.task_consumer is None:
            self._judge.serve_not(now)
        elif health.away and consumer.connection.transport.driver_type == "amqp":
            # RabbitMQ may stop reading what it is sent (a memory alarm), and answers others all the same; a dead
            # connection ends by heartbeats and by py-amqp's TCP_USER_TIMEOUT
            self._judge.serve_not(now)
        elif self._judge.look(self._seen(bool(health.away)), now) and not self._asking:
            self._judge.asked(now)
            if waiting.has_room(consumer):
                self._asking = True
                threading.Thread(target=self._ask, args=(consumer, now), name="trapd-look", daemon=True).start()
            else:
                self._judge.answered(None, now)
        health.idle = (self._judge.trouble, self._judge.since) if self._judge.trouble else None

    def _ask(self, consumer: Any, asked_at: float) -> None:
        found: Mapping[str, int] | None = None
        try:
            consumed = queues.consumed(self._worker)
            asked = [queue for queue in consumer.task_consumer.queues if queue.name in consumed]
            found = waiting.waiting(consumer.connection, asked)
        except Exception:  # the connection was lost meanwhile: proves nothing either
            found = None
        finally:
            self._judge.answered(found, asked_at)
            self._asking = False

    def _seen(self, cut_off: bool) -> Seen:
        pool = self._worker.pool
        active = len(state.active_requests)
        unstarted = max(0, len(state.reserved_requests) - active)
        started = sum(counts.started for counts in self._tally.counts().values()) if unstarted else None
        ready = getattr(getattr(pool, "_pool", None), "_fileno_to_inq", None)  # prefork's processes that have started
        return Seen(
            missing=tuple(sorted(self._configured - set(queues.consumed(self._worker)))),
            delivered=self._tally.delivered,
            started=started,
            slots=pool.num_processes or 0,
            active=active,
            unstarted=unstarted,
            cut_off=cut_off,
            starting=ready is not None and len(ready) <= active,
        )
