"""Rules of `trapctl check` for RabbitMQ's quorum queues: their delivery limit, and features that they lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trapd.ctl.findings import OK, WARNING, Facts, Finding, Rule

DELIVERIES = 20  # RabbitMQ 4's limit where none is set; RabbitMQ 3 has none then
CONSUMER_TIMEOUT = "30 min"  # RabbitMQ's default for a message that is not acknowledged


def _quorum(facts: Facts) -> dict[str, dict[str, Any]]:
    """Return the quorum queues that the application has, or that a pool would make by its name."""
    queues = {name: queue for name, queue in facts.report["queue_kinds"].items() if queue["type"] == "quorum"}
    if facts.conf("task_create_missing_queue_type") == "quorum":
        made = {name for pool in facts.settings.pools for name in pool.queues} - {*facts.report["queues"]}
        exchange = facts.conf("task_create_missing_queue_exchange_type") or facts.conf("task_default_exchange_type")
        queues |= {name: {"type": "quorum", "limit": None, "exchange": exchange} for name in sorted(made)}
    return queues if facts.transport == "amqp" else {}


def limits(facts: Facts) -> Iterator[Finding]:
    by_limit: dict[Any, list[str]] = {}
    for name, queue in _quorum(facts).items():
        by_limit.setdefault(queue["limit"], []).append(name)
    for limit, names in by_limit.items():
        count = (
            f"{DELIVERIES} deliveries (RabbitMQ 4; RabbitMQ 3 has no limit)" if limit is None else f"{limit} deliveries"
        )
        if limit is not None and limit < 0:
            count = "no number of deliveries"
        yield Finding(
            OK,
            f"{_named(names)}: RabbitMQ drops a message after {count}; a recycle costs one delivery of each message "
            "that a worker has in reserve or scheduled, and no delivery from the fourth return on",
        )


def undetected(facts: Facts) -> Iterator[Finding]:
    names = list(_quorum(facts))
    if names and facts.conf("worker_detect_quorum_queues") is False:
        yield Finding(
            WARNING,
            f"{_named(names)}, and worker_detect_quorum_queues is off",
            "with RabbitMQ 3 workers then ask for a prefetch of the whole channel, which it refuses for quorum queues "
            "(NOT_IMPLEMENTED): no worker gets ready",
            "remove worker_detect_quorum_queues",
        )


def scheduled(facts: Facts) -> Iterator[Finding]:
    """Warn about quorum queues behind an exchange that cannot delay: Celery's native delayed delivery needs one."""
    names = [name for name, queue in _quorum(facts).items() if queue["exchange"] == "direct"]
    if names:
        yield Finding(
            WARNING,
            f"{_named(names)} behind a direct exchange",
            "Celery cannot delay tasks (eta, countdown, retry) in RabbitMQ there: a worker holds them, and after "
            f"{CONSUMER_TIMEOUT} (consumer_timeout) RabbitMQ takes them back, which counts as a delivery; plain "
            "`celery worker` stands still if delayed tasks take all its prefetch, trapd's workers make room for others",
            'set task_default_exchange_type = "topic" (or a topic exchange for each queue in task_queues), and new '
            "names for exchange and queue: RabbitMQ does not change those that exist",
        )


def _named(names: list[str]) -> str:
    return f"queue {names[0]} is a quorum queue" if len(names) == 1 else f"queues {', '.join(names)} are quorum queues"


RULES: tuple[Rule, ...] = (limits, undetected, scheduled)
