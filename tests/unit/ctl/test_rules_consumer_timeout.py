"""When `trapctl check` speaks of RabbitMQ's consumer_timeout."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ctl.test_findings import found, on
from trapd.ctl.findings import WARNING

UNLIMITED = {"a": 1200.0, "b": None}


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": UNLIMITED},
        {"limits": {"a": 1800.0}},
        {"limits": {"a": 500.0}, "conf": {"worker_prefetch_multiplier": 4}},  # the fourth waits behind three
        {"limits": {"a": 500.0}, "conf": {"worker_prefetch_multiplier": None}},  # Celery's four
        {"limits": {"a": 5.0}, "conf": {"worker_prefetch_multiplier": 0}},  # as many as there are
        {"limits": UNLIMITED, "conf": {"task_time_limit": 600}, "pool": {"time_limit": 3600}},  # trapd.toml goes first
        {"pool": {"celery_pool": "threads"}},  # nobody enforces the limit there
    ],
)
def test_a_pool_that_may_hold_a_message_for_longer_than_rabbitmq_waits_is_named(changes: dict[str, Any]) -> None:
    (one,) = [one for one in found(**changes) if "consumer_timeout" in one.what]
    assert one.level == WARNING
    assert "worker of default holds" in one.what
    assert "a task that acknowledges late" in one.reason
    assert "x-consumer-timeout" in one.remedy


def test_early_acknowledgement_has_one_in_reserve_all_the_same() -> None:
    (one,) = [one for one in found(limits=UNLIMITED, late=[], early=["a", "b"]) if "consumer_timeout" in one.what]
    assert one.reason.startswith("a message in reserve behind a longer task")


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"a": 1799.0}},
        {"limits": {"a": 449.0}, "conf": {"worker_prefetch_multiplier": 4}},
        {"limits": {}},
        {"limits": UNLIMITED, "pool": {"time_limit": 600}},
        {"limits": UNLIMITED, "conf": {"task_time_limit": 600}},
        {"limits": {"a": 900.0}, "conf": {"worker_prefetch_multiplier": 4}, "pool": {"prefetch_multiplier": 1}},
        {"limits": UNLIMITED} | on("redis", visibility_timeout=90000),
    ],
)
def test_where_everything_is_acknowledged_in_time_nothing_is_said(changes: dict[str, Any]) -> None:
    assert not [one for one in found(**changes) if "consumer_timeout" in one.what]
