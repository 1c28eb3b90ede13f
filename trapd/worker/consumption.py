"""This worker's own look at whether it consumes: what its process knows goes to the judge (worker/consuming.py), and
the judge's verdict to Health, which tells it. The reporter's thread looks, once a second; that costs microseconds.

The broker is asked by a thread that lives as long as the question. It is one of the standard library, so that it is a
greenlet where gevent or eventlet replace those: sockets that they have replaced cannot be used in a thread of the
kernel, and a greenlet that waits in one keeps nobody waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from celery.worker import state

from trapd.worker import queues, unfed, waiting
from trapd.worker.abstention import Abstention
from trapd.worker.consuming import Consuming, Seen
from trapd.worker.health import Health, Phase
from trapd.worker.questions import Questions
from trapd.worker.standing import BROKER
from trapd.worker.stopped import Stopped, processes
from trapd.worker.tally import Tally, far_beyond
from trapd.worker.unfed import Unbegun, Unfed
from trapd.worker.waiting import fed_evenly


class Judge(Protocol):
    trouble: str
    since: float


class Consumption:
    """Begins when the pool has started."""

    def __init__(self, tally: Tally, abstention: Abstention) -> None:
        self._tally, self._abstention = tally, abstention
        self._judge, self._unfed, self._unbegun = Consuming(time.monotonic()), Unfed(time.monotonic()), Unbegun()
        self._stopped, self._questions = Stopped(), Questions()
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
        judges: list[Judge] = [self._judge, self._unbegun, self._unfed]
        self._look_for_stopped(health, now)
        health.overdue = False
        serves = health.phase is Phase.READY and health.away in ("", BROKER)
        if health.phase is Phase.RECONNECTING and consumer is not None and _connects(consumer):
            self._unfed.begin_anew()
            self._look_for_broker(now)
        elif not serves or self._abstention.on or consumer is None or consumer.task_consumer is None:
            self._serve_not(now)
        elif health.away and consumer.connection.transport.driver_type == "amqp":
            # RabbitMQ may stop reading what it is sent (a memory alarm), and answers others all the same; a dead
            # connection ends by heartbeats and by py-amqp's TCP_USER_TIMEOUT
            self._serve_not(now)
        else:
            self._look(consumer, self._seen(bool(health.away)), now)
            health.overdue = self._overdue(now)
            if not health.away:
                judges.insert(0, self._stopped)
        troubled = next((each for each in judges if each.trouble), None)
        health.idle = (troubled.trouble, troubled.since) if troubled is not None else None

    def _look_for_stopped(self, health: Health, now: float) -> None:
        """In every phase: that a process is stopped has nothing to do with the broker."""
        self._stopped.look(lambda: processes(getattr(self._worker, "pool", None)), now)
        if health.phase is Phase.DRAINING:
            self._stopped.resume(now)
        health.stopped = self._stopped.trouble

    def _serve_not(self, now: float) -> None:
        self._judge.serve_not(now)
        self._unfed.begin_anew()
        self._unbegun.look((), now)

    def _look(self, consumer: Any, seen: Seen, now: float) -> None:
        consumed = {name: self._tally.by_queue.get(name) for name in queues.consumed(self._worker)}
        self._unbegun.look(unfed.given(self._worker.pool), now)
        idle = self._judge.look(seen, now)
        lost = self._unfed.look(consumed, self._free(consumer, seen, len(consumed)), now)
        due = self._questions.due(consumed, lost, now, idle=idle)
        if due is None or self._asking:
            return
        if not waiting.has_room(consumer):
            if idle:
                self._judge.answered(None, now)
            return
        if idle:
            self._judge.asked(now)
        self._questions.asked(due, now)
        asked = [queue for queue in consumer.task_consumer.queues if queue.name in due]
        self._ask(lambda: consumer.connection, asked, now, of_all=idle)

    def _free(self, consumer: Any, seen: Seen, queues: int) -> bool:
        """Would each of several queues give its next message at once, and is it known which of them gave the others?"""
        known = queues > 1 and None not in self._tally.by_queue and fed_evenly(consumer)
        return known and seen.free and not seen.unstarted and not seen.cut_off and waiting.has_room(consumer)

    def _look_for_broker(self, now: float) -> None:
        """It tries to connect. If other connections are answered, again and again, then its own try stands still."""
        pool = self._worker.pool
        self._unbegun.look((), now)
        away = Seen(slots=pool.num_processes or 1, active=len(state.active_requests), cut_off=True)
        if self._judge.look(away, now) and not self._asking:
            self._judge.asked(now)
            self._ask(self._worker.app.connection_for_read, [], now, of_all=True)

    def _ask(self, connection: Callable[[], Any], asked: list[Any], now: float, *, of_all: bool) -> None:
        """``of_all``: nothing came from any queue."""
        self._asking = True
        of = (connection, asked, now, of_all)
        threading.Thread(target=self._answer, args=of, name="trapd-look", daemon=True).start()

    def _answer(self, connection: Callable[[], Any], asked: list[Any], asked_at: float, of_all: bool) -> None:
        found: Mapping[str, int] | None = None
        try:
            found = waiting.waiting(connection(), asked)
        except Exception:  # the connection was lost meanwhile: proves nothing either
            found = None
        finally:
            names = [queue.name for queue in asked]
            known = self._questions.answered(found, names)
            if of_all:
                self._judge.answered(known, asked_at)
            self._unfed.answered(found, names, asked_at)
            self._asking = False

    def _overdue(self, now: float) -> bool:
        """Are all slots taken by tasks that run far beyond their like? Then it takes no more; a person may end them."""
        running, slots = self._tally.running(), self._worker.pool.num_processes or 0
        if not slots or len(running) < slots:
            return False
        counts = self._tally.counts()
        return all(far_beyond(counts[run.name], now - run.began) for run in running if run.name in counts)

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


def _connects(consumer: Any) -> bool:
    """Does it stand in the making of a connection? One that RabbitMQ has accepted may wait for the end of a memory
    alarm, while another one that sends nothing is answered; without an alarm heartbeats end it."""
    return consumer.connection is None or consumer.connection.transport.driver_type != "amqp"
