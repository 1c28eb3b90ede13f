"""Where the prefetch of a running consumer cannot be raised, and what is done there."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from trapd.worker.prefetch import Renewal, is_per_consumer


def consumer(
    arguments: Mapping[str, object],
    driver: str = "amqp",
    version_4: bool = False,
    detect: bool = True,
    prefetch: int = 1,
) -> Any:
    """Of a worker that reads one queue."""
    queue = SimpleNamespace(name="q", queue_arguments=arguments)
    calls: list[object] = []
    return SimpleNamespace(
        app=SimpleNamespace(
            conf=SimpleNamespace(worker_detect_quorum_queues=detect), amqp=SimpleNamespace(queues={"q": queue})
        ),
        connection=SimpleNamespace(transport=SimpleNamespace(driver_type=driver), qos_semantics_matches_spec=version_4),
        initial_prefetch_count=prefetch,
        qos=SimpleNamespace(value=prefetch),
        calls=calls,
        task_consumer=SimpleNamespace(
            queues=[queue],
            cancel=lambda: calls.append("cancel"),
            qos=lambda prefetch_count, apply_global: calls.append((prefetch_count, apply_global)),
            consume=lambda: calls.append("consume"),
        ),
    )


QUORUM = {"x-queue-type": "quorum"}


@pytest.mark.parametrize(
    ("case", "so"),
    [
        (consumer(QUORUM), True),
        (consumer({}), False),
        (consumer({}, version_4=True), True),
        (consumer(QUORUM, driver="redis"), False),
        (consumer(QUORUM, detect=False), False),
        (consumer(QUORUM, prefetch=0), False),
        (consumer(QUORUM | {"x-single-active-consumer": True}), False),
    ],
    ids=["quorum", "classic", "RabbitMQ 4", "Redis", "not detected", "without prefetch", "single active consumer"],
)
def test_where_it_cannot_be_raised(case: Any, so: bool) -> None:
    assert is_per_consumer(case) is so


def test_more_room_is_a_new_consumer_and_less_room_comes_by_itself() -> None:
    worker = consumer(QUORUM, prefetch=4)
    renewal = Renewal(worker)
    renewal.to(5)
    assert worker.calls == ["cancel", (4, False), "consume"]
    renewal.to(4)
    assert len(worker.calls) == 3
    renewal.to(5)
    assert len(worker.calls) == 6
