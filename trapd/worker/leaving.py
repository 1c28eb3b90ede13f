"""The beginning of a drain: what a process of the pool has is finished here, what none has goes back to the broker now.

Celery does neither. It forgets a task that a process has been given and has not yet said to have, which takes about a
millisecond (celery/celery#6863, made for lost connections): the task runs while its message goes back, so it runs
twice, and its process waits 30 s for its result to be read (billiard, ``Worker._ensure_messages_consumed``). And what
was only reserved stays reserved until the last task has ended: for hours, though other workers have nothing to do.

What can be given back differs by Celery pool: with processes on a broker with an event loop, and with threads, all
that has not begun; with greenlets, with no pool (solo) and with processes elsewhere, what waits for its time or for a
rate limit.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from queue import Empty
from types import GeneratorType
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.request import Request

from trapd.sizes import counted
from trapd.worker import returns
from trapd.worker.receipt import Receipt

log = get_logger("trapd.worker")

PATIENCE = 10.0  # s: an idle process answers at once, but the machine may be busy
LOOK_EVERY = 0.5  # s: nothing tells of a process that dies meanwhile
REDIS_PATIENCE = 2.0  # s: Redis answers a BRPOP after 1 s at most


class Leaving(bootsteps.StartStopStep):  # type: ignore[misc]
    """Of the worker: closed before its consumer is, and stopped between consumer and pool."""

    requires = ("celery.worker.components:Pool",)
    receipt: Receipt

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._back: list[Any] = []

    def start(self, worker: Any) -> None:
        """Before the consumer is: whatever its loop still reads after SIGTERM is not begun here."""
        make = worker.consumer.create_task_handler

        def create_task_handler(*arguments: Any, **options: Any) -> Callable[[Any], None]:
            handle = make(*arguments, **options)
            return lambda message: handle(message) if state.should_stop is None else self._back.append(message)

        worker.consumer.create_task_handler = create_task_handler

    def close(self, worker: Any) -> None:
        if state.should_terminate is not None:
            return  # the pool is about to be killed
        self.receipt.hold([*state.reserved_requests])
        if worker.consumer.task_consumer is None:
            return  # it has not reached its broker yet
        try:
            self._begin(worker, worker.consumer)
        except Exception:  # these are Celery's inner parts; without this it leaves as it always does
            log.exception("cannot distinguish the tasks that run here from the others")

    def _begin(self, worker: Any, consumer: Any) -> None:
        consumer.task_consumer.on_message = self._back.append  # whatever else comes until it is cancelled
        held = {*_unbegun(worker), *_scheduled(consumer.timer), *_limited(consumer.task_buckets)}
        self.receipt.hold(held)
        self._back += [request.message for request in held - {*state.active_requests}]
        _read_last_of_redis(consumer.task_consumer.channel)

    def stop(self, worker: Any) -> None:
        """Only a consumer that is cancelled does not get them itself."""
        returns.give_back(self._back, worker.consumer, self.receipt.returned)


def step(receipt: Receipt) -> type[Leaving]:
    """The worker's step, with the receipt to fill in."""
    return type("Leaving", (Leaving,), {"receipt": receipt})


def _unbegun(worker: Any) -> Collection[Request]:
    """What is reserved, has not begun and will not; none where the pool itself keeps it out of reach."""
    pool = worker.pool
    if hasattr(pool, "executor"):
        return _taken_from_threads(pool.executor._work_queue)
    if worker.hub and hasattr(pool._pool, "_active_writers"):
        receive_acceptances(pool._pool, worker.hub)
        return {*state.reserved_requests}
    return ()


def _taken_from_threads(waiting: Any) -> list[Request]:
    """What is taken from the queue of the threads, none of them can begin."""
    taken: list[Request] = []
    with suppress(Empty):
        while (item := waiting.get_nowait()) is not None:  # None ends a thread
            item.future.cancel()
            arguments = item.args if hasattr(item, "args") else item.task[1]  # Python 3.14
            taken.append(arguments[-1].__self__)  # the request's own method that hears of its begin
    return taken


def _scheduled(timer: Any) -> list[Request]:
    """As ``celery inspect scheduled`` finds them; their time no longer comes."""
    found: list[Request] = []
    for waiting in list(timer.queue):
        arguments = waiting.entry.args
        if arguments and isinstance(arguments[0], Request):
            timer.cancel(waiting if hasattr(waiting, "cancel") else waiting.entry)  # a greenlet, or a mere entry
            found.append(arguments[0])
    return found


def _limited(buckets: Mapping[str, Any]) -> list[Request]:
    """What a rate limit keeps from being reserved."""
    return [request for bucket in buckets.values() if bucket for request, _ in bucket.contents]


def receive_acceptances(pool: Any, hub: Any) -> None:
    """Turn the pool's own handlers of its pipes until each process has said what it has; no messages come in."""
    deadline = time.monotonic() + PATIENCE
    while unaccepted := [job for job in pool._cache.values() if _given(job) and not job._accepted]:
        if time.monotonic() >= deadline:
            what = counted(len(unaccepted), "task was", "tasks were")
            log.warning("%s not accepted by the pool within %g s", what, PATIENCE)
            return
        _turn(pool, hub, unaccepted)


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
