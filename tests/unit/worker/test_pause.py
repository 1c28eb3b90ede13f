"""A worker that takes no tasks for a moment, without any broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from trapd.worker.pause import LEASE, Pause


class Consumer:
    """kombu's, of one queue."""

    def __init__(self) -> None:
        self._active_tags: dict[str, str] = {}
        self.consume()

    def consume(self) -> None:
        self._active_tags["celery"] = "1"

    def cancel(self) -> None:
        self._active_tags.clear()

    @property
    def takes(self) -> bool:
        return bool(self._active_tags)


def make() -> tuple[Pause, Any, list[float]]:
    now = [100.0]
    return Pause(lambda: now[0]), SimpleNamespace(task_consumer=Consumer()), now


def test_it_takes_none_while_it_is_asked_and_takes_them_again_when_it_is_not() -> None:
    pause, celery, _ = make()
    pause.ask(True)
    pause.turn(celery)
    assert (pause.on, celery.task_consumer.takes) == (True, False)
    pause.ask(False)
    assert pause.on
    pause.turn(celery)
    assert (pause.on, celery.task_consumer.takes) == (False, True)


def test_without_trapd_it_takes_tasks_again_by_itself() -> None:
    pause, celery, now = make()
    pause.ask(True)
    pause.turn(celery)
    now[0] += LEASE
    pause.turn(celery)
    assert (pause.on, celery.task_consumer.takes) == (False, True)


def test_what_consumes_again_meanwhile_is_cancelled_once_more() -> None:
    """As after a lost connection, or a renewal of the prefetch."""
    pause, celery, _ = make()
    pause.ask(True)
    pause.turn(celery)
    celery.task_consumer = Consumer()
    pause.turn(celery)
    assert not celery.task_consumer.takes
    celery.task_consumer = None
    pause.turn(celery)
    celery.task_consumer = Consumer()
    pause.ask(False)
    pause.turn(celery)
    assert (pause.on, celery.task_consumer.takes) == (False, True)


def test_a_consumer_that_somebody_else_cancelled_is_left_alone() -> None:
    pause, celery, _ = make()
    celery.task_consumer.cancel()
    pause.ask(False)
    pause.turn(celery)
    assert not celery.task_consumer.takes
