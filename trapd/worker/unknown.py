"""A task that this worker does not know is parked for a while, instead of being discarded as Celery does.

During an upgrade the submitters may be the first to run the new code: its new tasks then also reach workers that have
not been recycled yet, and those would mark them as failed and drop them. They wait in the parking queue instead, out of
everybody's way; a worker that knows them puts them back. A message that no worker knows for long stays there, and is
counted and reported by its task's name (worker/aside.py). Where there can be no parking queue, a message is held for a
pause and handed back, and in the end Celery discards it.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from trapd.worker import parking, returns
from trapd.worker.aside import Aside, Count
from trapd.worker.parking import Parking, Verdict
from trapd.worker.poison import MARK, Poison

log = get_logger("trapd.worker")

PATIENCE = 30.0  # s: until a change that was just installed has become a generation
PATIENCE_WHEN_OLD = 600.0  # s: until the recycle has got to the workers
# Seconds between two looks: while nothing is parked; after one that found something; at most after some in vain.
LOOK_EVERY, LOOK_AGAIN, LOOK_RARELY = 2.0, 0.1, 30.0
ORDERS_EVERY = 1.0  # s; an order about a poisoned task does not wait for the next look
WALK_FOR = 0.25  # s at most that the loop stands still for a look
# Seconds for which a message is held: it must not run in circles. Every second time they double, and no two are quite
# alike: workers poll in steady cycles (Redis: each second), so that at even pauses it is the same one that wins always.
FIRST_PAUSE, LONGEST_PAUSE, SPREAD = 0.5, 5.0, 0.3
_REMEMBERED = 100_000  # 20 MB; of more at once, each would be forgotten before it returns, and never be given up


class Unknown:
    """Consumer.on_unknown_task of one worker. Runs in the consumer's loop."""

    def __init__(self, consumer: Any, generation: Path, lot: Parking, aside: Aside, poison: Poison) -> None:
        self._poison = poison
        self._consumer, self._generation, self._lot, self._aside = consumer, generation, lot, aside
        self._discard = consumer.on_unknown_task
        self._hand_back = HandBack(consumer, self.patience)
        self._told: OrderedDict[str, None] = OrderedDict()
        self._began = time.time()

    def patience(self) -> float:
        """Seconds for which a task may be unknown."""
        return PATIENCE if newest_beside(self._generation) is None else PATIENCE_WHEN_OLD

    def __call__(self, body: Any, message: Any, error: Exception) -> None:
        if not (self._park(message) or self._hand_back(message)):
            self._aside.discarded(_id_and_name(message)[1], time.time())
            self._discard(body, message, error)

    def judge(self, mark: Mapping[str, Any], queue: str = "") -> Verdict:
        """Of a message that is parked in ``queue``, by anybody. Raises KeyError for a mark that is none of ours."""
        if MARK in mark:
            return self._poison.judge(mark, queue)
        return Verdict.BACK if mark["task"] in self._consumer.strategies else Verdict.STAYS

    def set_aside(self, mark: Mapping[str, Any]) -> bool:
        """Is it parked for so long that no worker that comes by itself will know it? What lay there before this worker
        came may wait for the generation after this one."""
        return MARK not in mark and bool(time.time() - max(mark["since"], self._began) >= self.patience())

    def _park(self, message: Any) -> bool:
        queue = queue_of(self._consumer, message)
        if queue is None:
            return False
        id, name = _id_and_name(message)
        try:
            self._lot.park(message, queue, id, name)
        except Exception as error:  # each transport has errors of its own
            self._lot.close()
            log.warning("cannot park task %s[%s]: %r; it is handed back to %s", name, id, error, queue.name)
            return False
        if id not in self._told:
            log.warning("task %s[%s] is not known here; parked in %s for a newer worker", name, id, queue.name)
            _remember(self._told, id, None)
        message.ack_log_error(log, self._consumer.connection_errors)
        return True


class HandBack:
    """For a message that cannot be parked."""

    def __init__(self, consumer: Any, patience: Callable[[], float]) -> None:
        self._consumer, self._patience = consumer, patience
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()  # task id -> first seen, how often

    def __call__(self, message: Any) -> bool:
        """False if it has been handed back for long enough."""
        id, name = _id_and_name(message)
        now = time.monotonic()
        first, times = self._seen.pop(id, (now, 0))
        if now - first >= self._patience():
            return False
        _remember(self._seen, id, (first, times + 1))
        if not times:
            log.warning("task %s[%s] is not known here; handed back for a newer worker", name, id)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (times // 2))
        self._hold(message, pause * random.uniform(1 - SPREAD, 1 + SPREAD))
        return True

    def _hold(self, message: Any, seconds: float) -> None:
        """As with a task that has an eta: one more message may come meanwhile."""
        consumer = self._consumer
        qos = consumer.qos
        qos.increment_eventually()
        # Without a hub the timer is a thread of its own; only the loop may speak to the broker.
        back = partial(self._back, message, qos)
        consumer.timer.call_after(seconds, back if consumer.hub else lambda: consumer.call_soon(back))

    def _back(self, message: Any, qos: Any) -> None:
        """``qos``: of the connection that the message came by; the prefetch of a later one is not ours to lower."""
        consumer = self._consumer
        if not message.acknowledged:
            message.reject_log_error(log, consumer.connection_errors, requeue=True)
            self._give_way()
        qos.decrement_eventually()

    def _give_way(self) -> None:
        """Without a hub the loop polls as soon as we return, before others can: it would meet the message again."""
        transport = getattr(self._consumer.connection, "transport", None)
        if not self._consumer.hub and transport is not None:
            time.sleep(min(2.0, 2 * (transport.polling_interval or 0.0)))


class Looks:
    """Looks into the parking queues of what one worker reads, at its READY and then for as long as it is connected."""

    def __init__(self, consumer: Any, lot: Parking, unknown: Unknown, aside: Aside, poison: Poison) -> None:
        self._consumer, self._lot, self._unknown, self._aside, self._poison = consumer, lot, unknown, aside, poison
        self._pause = LOOK_EVERY
        self._told = set[str]()  # tasks
        self._timer: Any = None
        self._orders: Any = None

    def start(self) -> None:
        self._next(0.0)
        self._orders = self._consumer.timer.call_repeatedly(ORDERS_EVERY, self._obey)

    def stop(self) -> None:
        if self._orders is not None:
            self._consumer.timer.cancel(self._orders)
            self._orders = None
        if self._timer is not None:
            self._consumer.timer.cancel(self._timer)
            self._timer = None
        self._lot.close()

    def _next(self, seconds: float) -> None:
        consumer = self._consumer
        # Without a hub the timer is a thread of its own; only the loop may speak to the broker.
        look = self._look if consumer.hub else lambda: consumer.call_soon(self._look)
        self._timer = consumer.timer.call_after(seconds * random.uniform(1 - SPREAD, 1 + SPREAD), look)

    def _obey(self) -> None:
        """Look now, and not when the pause is over, if a person has given an order."""
        if self._poison.ordered and self._timer is not None:
            self._poison.ordered = False
            self._consumer.timer.cancel(self._timer)
            self._next(0.0)

    def _look(self) -> None:
        if self._timer is None:
            return  # stopped meanwhile
        waiting = left = 0
        try:
            for queue in parked_queues(self._consumer):
                here = self._lot.waiting(queue)
                waiting += here
                left += self._walk(queue, here)
        except Exception as error:  # each transport has errors of its own; a broken connection is told by the consumer
            self._lot.close()
            if self._pause < LOOK_RARELY:
                log.warning("cannot look into the parking queue: %r; unknown tasks are handed back", error)
            self._pause = LOOK_RARELY
        else:
            self._pause = min(LOOK_RARELY, 2 * self._pause) if waiting and not left else LOOK_EVERY
        self._next(LOOK_AGAIN if left else self._pause)

    def _walk(self, queue: Any, here: int) -> int:
        """Judge the messages of a parking queue, ``here`` of them; how many went back to their queue."""
        met, judged = dict[str, Count](), 0

        def judge(mark: Mapping[str, Any]) -> Verdict:
            nonlocal judged
            judged += 1
            verdict = self._unknown.judge(mark, queue.name + parking.SUFFIX)
            if verdict is Verdict.STAYS and self._unknown.set_aside(mark):
                before = met.get(mark["task"], Count(0, mark["since"]))
                met[mark["task"]] = Count(before.messages + 1, min(before.since, mark["since"]))
            return verdict

        left = self._lot.walk(queue, judge, here, WALK_FOR) if here else 0
        self._aside.walked(queue.name + parking.SUFFIX, met, whole=judged >= here)
        for task in met.keys() - self._told:
            self._told.add(task)
            log.error("task %s is known to no worker: its messages wait in %s", task, queue.name + parking.SUFFIX)
        return left


def newest_beside(generation: Path) -> int | None:
    """The number of a newer generation than this one, if there is any."""
    try:
        numbers = [int(folder.name) for folder in generation.parent.iterdir() if folder.name.isdecimal()]
    except OSError:
        return None
    newest = max(numbers, default=0)
    return newest if newest > int(generation.name) else None


def parked_queues(consumer: Any) -> list[Any]:
    """The queues that are read here and that have a parking queue: not those that exist for one reader alone."""
    if consumer.task_consumer is None or consumer.connection.transport.driver_type not in parking.TRANSPORTS:
        return []
    return [queue for queue in consumer.task_consumer.queues if not (queue.auto_delete or queue.exclusive)]


def queue_of(consumer: Any, message: Any) -> Any:
    """The queue that a message was received from, None if it is not told or has no parking queue."""
    queues = {queue.name: queue for queue in parked_queues(consumer)}
    if not queues:
        return None
    tag = message.delivery_info.get("consumer_tag")
    if tag is not None:
        names = [name for name, of_queue in consumer.task_consumer._active_tags.items() if of_queue == tag]
    else:  # kombu's own transports say only how it was sent
        info = message.delivery_info
        names = message.channel._lookup(info.get("exchange"), info.get("routing_key"))
    return next((queues[name] for name in names if name in queues), None)


def step(generation: Path, aside: Aside, poison: Poison) -> type[bootsteps.StartStopStep]:
    """The consumer's step that installs it. ``aside`` hears what no worker knows; ``poison`` says what is not run."""

    class UnknownStep(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            lot = Parking(consumer.app)
            consumer.on_unknown_task = unknown = Unknown(consumer, generation, lot, aside, poison)
            consumer.create_task_handler = _restoring(
                consumer, _without_poison(consumer, consumer.create_task_handler, lot, poison)
            )
            self._looks = Looks(consumer, lot, unknown, aside, poison)

        def start(self, consumer: Any) -> None:
            self._looks.start()

        def stop(self, consumer: Any) -> None:
            self._looks.stop()

        shutdown = stop

    return UnknownStep


def _restoring(consumer: Any, make: Callable[..., Any]) -> Callable[..., Any]:
    """What comes out of the parking queue is treated as what it was before."""

    def create_task_handler(*arguments: Any, **options: Any) -> Callable[[Any], None]:
        handle = make(*arguments, **options)

        def on_task_received(message: Any) -> None:
            parking.restore_route(message)
            if returns.often(message):
                returns.note_origin(message, queue_of(consumer, message))
            handle(message)

        return on_task_received

    return create_task_handler


def _without_poison(consumer: Any, make: Callable[..., Any], lot: Parking, poison: Poison) -> Callable[..., Any]:
    """A task that has killed often enough is set aside and does not run. Without a parking queue it runs."""

    def create_task_handler(*arguments: Any, **options: Any) -> Callable[[Any], None]:
        handle = make(*arguments, **options)

        def on_task_received(message: Any) -> None:
            id = message.headers.get("id") if message.headers else None
            again = bool(message.delivery_info.get("redelivered"))
            if id is None or not poison.is_due(id, again=again) or not set_aside(message, id):
                handle(message)

        return on_task_received

    def set_aside(message: Any, id: str) -> bool:
        queue, name = queue_of(consumer, message), str(message.headers.get("task"))
        if queue is None:
            return False
        try:
            lot.park(message, queue, id, name, poison.mark())
        except Exception as error:  # each transport has errors of its own
            lot.close()
            log.error("cannot set aside task %s[%s], which kills its processes: %r; it runs again", name, id, error)
            return False
        poison.parked(id, name, queue.name + parking.SUFFIX)
        log.error(
            "task %s[%s] has killed its process too often: set aside in %s", name, id, queue.name + parking.SUFFIX
        )
        message.ack_log_error(log, consumer.connection_errors)
        return True

    return create_task_handler


def _remember(seen: OrderedDict[str, Any], id: str, value: Any) -> None:
    seen[id] = value
    while len(seen) > _REMEMBERED:
        seen.popitem(last=False)


def _id_and_name(message: Any) -> tuple[str, str]:
    """Of either version of the message protocol."""
    headers = message.headers
    if "task" not in headers:
        headers = message.payload
    return str(headers["id"]), str(headers["task"])
