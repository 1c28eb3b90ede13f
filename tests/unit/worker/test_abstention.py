"""A worker that takes no tasks for a moment, without any broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from trapd.worker.abstention import LEASE, Abstention


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


def make() -> tuple[Abstention, Any, list[float]]:
    now = [100.0]
    return Abstention(lambda: now[0]), SimpleNamespace(task_consumer=Consumer()), now


def test_it_takes_none_while_it_is_asked_and_takes_them_again_when_it_is_not() -> None:
    abstention, celery, _ = make()
    abstention.ask(True)
    abstention.turn(celery)
    assert (abstention.on, celery.task_consumer.takes) == (True, False)
    abstention.ask(False)
    assert abstention.on
    abstention.turn(celery)
    assert (abstention.on, celery.task_consumer.takes) == (False, True)


def test_without_trapd_it_takes_tasks_again_by_itself() -> None:
    abstention, celery, now = make()
    abstention.ask(True)
    abstention.turn(celery)
    now[0] += LEASE
    abstention.turn(celery)
    assert (abstention.on, celery.task_consumer.takes) == (False, True)


def test_what_consumes_again_meanwhile_is_cancelled_once_more() -> None:
    """As after a lost connection, or a renewal of the prefetch."""
    abstention, celery, _ = make()
    abstention.ask(True)
    abstention.turn(celery)
    celery.task_consumer = Consumer()
    abstention.turn(celery)
    assert not celery.task_consumer.takes
    celery.task_consumer = None
    abstention.turn(celery)
    celery.task_consumer = Consumer()
    abstention.ask(False)
    abstention.turn(celery)
    assert (abstention.on, celery.task_consumer.takes) == (False, True)


def test_a_consumer_that_somebody_else_cancelled_is_left_alone() -> None:
    abstention, celery, _ = make()
    celery.task_consumer.cancel()
    abstention.ask(False)
    abstention.turn(celery)
    assert not celery.task_consumer.takes
