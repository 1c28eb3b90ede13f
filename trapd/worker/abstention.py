"""Take no tasks for a moment, because trapd asks for it: the old code has the last word on tasks that fail (ADR 33).

A lease, which trapd renews with each question: a worker whose trapd is gone takes tasks again by itself. The consumers
of all queues are cancelled, and what was delivered before runs on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LEASE = 5.0  # s


class Abstention:
    """``ask`` and ``on`` may be called in any thread, ``turn`` in the consumer's loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until = 0.0
        self._taken_from: Any = None  # kombu's consumer whose queues were cancelled here

    def ask(self, wanted: bool) -> None:
        self._until = self._now() + LEASE if wanted else 0.0

    @property
    def on(self) -> bool:
        """Are no tasks taken, or are none to be taken?"""
        return self._taken_from is not None or self._now() < self._until

    def turn(self, consumer: Any) -> None:
        """Do what was asked. Called with each stamp: what consumes again meanwhile is cancelled once more."""
        tasks, wanted = consumer.task_consumer, self._now() < self._until
        if tasks is None:  # it has no connection; the next one consumes
            self._taken_from = None
        elif wanted:
            self._taken_from = tasks
            if tasks._active_tags:
                tasks.cancel()
        elif self._taken_from is not None:
            again, self._taken_from = tasks is self._taken_from, None
            if again:
                tasks.consume()
