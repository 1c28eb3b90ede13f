"""The beginning of a drain: what a process of the pool has is finished here, what none has goes back to the broker now.

Celery does neither. It forgets a task that a process has been given and has not yet said to have, which takes about a
millisecond (celery/celery#6863, made for lost connections): the task runs while its message goes back, so it runs
twice, and its process waits 30 s for its result to be read (billiard, ``Worker._ensure_messages_consumed``). And what
was only reserved stays reserved until the last task has ended: for hours, though other workers have nothing to do.

Only of the pool of processes on a broker with an event loop: other pools run what they have reserved.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from queue import Empty
from types import GeneratorType
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.request import Request

log = get_logger("trapd.worker")

PATIENCE = 10.0  # s: an idle process answers at once, but the machine may be busy
LOOK_EVERY = 0.5  # s: nothing tells of a process that dies meanwhile
REDIS_PATIENCE = 2.0  # s: Redis answers a BRPOP after 1 s at most


class Leaving(bootsteps.StartStopStep):  # type: ignore[misc]
    """Of the worker: closed before its consumer is, and stopped between consumer and pool."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._back: list[Any] = []

    def close(self, worker: Any) -> None:
        if not getattr(worker.pool, "flush", None) or state.should_terminate is not None:
            return  # a pool of another kind, or one that is about to be killed
        if worker.consumer.task_consumer is None:
            return  # it has not reached its broker yet
        try:
            self._begin(worker.pool._pool, worker.hub, worker.consumer)
        except Exception:  # these are Celery's inner parts; without this it leaves as it always does
            log.exception("cannot tell what runs here from what does not")

    def _begin(self, pool: Any, hub: Any, consumer: Any) -> None:
        consumer.task_consumer.on_message = self._back.append  # whatever else comes until it is cancelled
        hear(pool, hub)
        held = {*state.reserved_requests, *_scheduled(hub.timer), *_limited(consumer.task_buckets)}
        self._back += [request.message for request in held - {*state.active_requests}]
        _read_last_of_redis(consumer.task_consumer.channel)

    def stop(self, worker: Any) -> None:
        """Only a consumer that is cancelled does not get them itself."""
        for message in self._back:
            if not message.acknowledged:
                message.reject_log_error(log, worker.consumer.connection_errors, requeue=True)


def _scheduled(timer: Any) -> list[Request]:
    """As ``celery inspect scheduled`` finds them."""
    firsts = [entry.args[0] for _, _, entry in timer.queue if entry.args]
    return [first for first in firsts if isinstance(first, Request)]


def _limited(buckets: Mapping[str, Any]) -> list[Request]:
    """What a rate limit keeps from being reserved."""
    return [request for bucket in buckets.values() if bucket for request, _ in bucket.contents]


def hear(pool: Any, hub: Any) -> None:
    """Turn the pool's own handlers of its pipes until each process has said what it has; no messages come in."""
    deadline = time.monotonic() + PATIENCE
    while unsaid := [job for job in pool._cache.values() if _given(job) and not job._accepted]:
        if time.monotonic() >= deadline:
            log.warning("%d tasks were not accepted by the pool within %g s", len(unsaid), PATIENCE)
            return
        _turn(pool, hub, unsaid)


def _given(job: Any) -> bool:
    """Also in part, which is then given wholly: a process cannot leave in the middle of a message."""
    return job._write_to is not None and job._write_to._is_alive()


def _turn(pool: Any, hub: Any, jobs: Collection[Any]) -> None:
    writers = {job._write_to.inqW_fd: writer for job in jobs if (writer := job._writer()) in pool._active_writers}
    readers = {job._write_to.outqR_fd for job in jobs}
    events = dict.fromkeys(writers, selectors.EVENT_WRITE) | dict.fromkeys(readers, selectors.EVENT_READ)
    for pipe in _ready(events, LOOK_EVERY):
        reader, _ = hub.readers.get(pipe, (None, ()))
        if pipe in writers:
            next(writers[pipe], None)
        elif isinstance(reader, GeneratorType):  # in the middle of a message
            next(reader, None)
        else:
            pool.handle_result_event(pipe)


def _read_last_of_redis(channel: Any) -> None:
    """What is asked for cannot be taken back, and may have brought a message; it would be read at the very end."""
    if getattr(channel, "_in_poll", None):
        connection = channel.client.connection._sock.fileno()
        if _ready({connection: selectors.EVENT_READ}, REDIS_PATIENCE):
            with suppress(Empty):
                channel._brpop_read()


def _ready(events: Mapping[int, int], timeout: float) -> list[int]:
    with selectors.DefaultSelector() as selector:
        for file, event in events.items():
            selector.register(file, event)
        return [key.fd for key, _ in selector.select(timeout)]
