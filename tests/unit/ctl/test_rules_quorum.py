"""What check says about quorum queues."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ctl.test_findings import found
from trapd.ctl.findings import OK, WARNING, Finding


def about(conf: dict[str, Any] | None = None, pool: dict[str, Any] | None = None, **report: Any) -> list[Finding]:
    return [one for one in found(conf=conf, pool=pool, **report) if "quorum" in one.what]


def kind(limit: int | None = None, exchange: str = "topic", type: str = "quorum") -> dict[str, Any]:
    return {"type": type, "limit": limit, "exchange": exchange}


@pytest.mark.parametrize(
    ("limit", "words"),
    [(None, "after 20 deliveries (RabbitMQ 4"), (7, "after 7 deliveries;"), (-1, "after no number of deliveries;")],
)
def test_quorum_queues_are_named_with_their_limit_and_what_a_recycle_costs(limit: int | None, words: str) -> None:
    [one] = about(queue_kinds={"a": kind(limit), "b": kind(limit), "c": kind(type="classic")})
    assert one.level == OK
    assert one.what.startswith("queues a, b are quorum queues: RabbitMQ drops a message")
    assert words in one.what
    assert "a recycle costs one delivery" in one.what


def test_classic_queues_and_other_brokers_are_not_spoken_of() -> None:
    assert not about(queue_kinds={"a": kind(type="classic")})
    redis = {"url": "redis://", "transport": "redis", "error": None}
    assert not about(queue_kinds={"a": kind()}, broker=redis)


def test_scheduled_tasks_behind_a_direct_exchange_are_a_warning() -> None:
    [_, one] = about(queue_kinds={"a": kind(exchange="direct")})
    assert one.level == WARNING
    assert 'task_default_exchange_type = "topic"' in one.remedy


def test_undetected_quorum_queues_are_a_warning() -> None:
    [_, one] = about({"worker_detect_quorum_queues": False}, queue_kinds={"a": kind()})
    assert one.level == WARNING
    assert "NOT_IMPLEMENTED" in one.reason


def test_a_queue_that_a_pool_makes_by_its_name_counts() -> None:
    conf = {"task_create_missing_queue_type": "quorum", "task_default_exchange_type": "direct"}
    assert [one.level for one in about(conf, {"queues": ("gpu",)})] == [OK, WARNING]
    assert not about(conf, {"queues": ("celery",)})  # the application has it, as a classic one
