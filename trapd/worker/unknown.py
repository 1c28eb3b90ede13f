"""A task that this worker does not know is handed back for a while, instead of being discarded as Celery does.

During an upgrade the submitters may be the first to run the new code: its new tasks then also reach workers that have
not been recycled yet, and those would mark them as failed and drop them.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

log = get_logger("trapd.worker")

PATIENCE = 30.0  # s: until a change that was just installed has become a generation
PATIENCE_WHEN_OLD = 600.0  # s: until the recycle has got to the workers
# Seconds for which a message is held: it must not run in circles. Every second time they double, and no two are quite
# alike: workers poll in steady cycles (Redis: each second), so that at even pauses it is the same one that wins always.
FIRST_PAUSE, LONGEST_PAUSE, SPREAD = 0.5, 5.0, 0.3
_REMEMBERED = 100_000  # 20 MB; of more at once, each would be forgotten before it returns, and never be given up


class HandBack:
    """Consumer.on_unknown_task of one worker. Runs in the consumer's loop."""

    def __init__(self, consumer: Any, generation: Path) -> None:
        self._consumer, self._generation = consumer, generation
        self._discard = consumer.on_unknown_task
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()  # task id -> first seen, how often

    def __call__(self, body: Any, message: Any, error: Exception) -> None:
        id, name = _id_and_name(message)
        now = time.monotonic()
        first, times = self._seen.pop(id, (now, 0))
        newer = newest_beside(self._generation)
        if now - first >= (PATIENCE if newer is None else PATIENCE_WHEN_OLD):
            self._discard(body, message, error)
            return
        self._seen[id] = first, times + 1
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        if not times:
            log.warning("task %s[%s] is not known here; handed back for a newer worker", name, id)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (times // 2))
        self._hold(message, pause * random.uniform(1 - SPREAD, 1 + SPREAD))

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


def newest_beside(generation: Path) -> int | None:
    """The number of a newer generation than this one, if there is any."""
    try:
        numbers = [int(folder.name) for folder in generation.parent.iterdir() if folder.name.isdecimal()]
    except OSError:
        return None
    newest = max(numbers, default=0)
    return newest if newest > int(generation.name) else None


def step(generation: Path) -> type[bootsteps.Step]:
    """The consumer's step that installs it."""

    class HandBackStep(bootsteps.Step):  # type: ignore[misc]
        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            consumer.on_unknown_task = HandBack(consumer, generation)

    return HandBackStep


def _id_and_name(message: Any) -> tuple[str, str]:
    """Of either version of the message protocol."""
    headers = message.headers
    if "task" not in headers:
        headers = message.payload
    return str(headers["id"]), str(headers["task"])
