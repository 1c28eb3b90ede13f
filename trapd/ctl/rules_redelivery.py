"""Brokers that hand a task out again when it was not acknowledged in time, though its worker lives. Pure.

RabbitMQ knows when a worker is gone. The others wait for so long; read in kombu 5.7's transports. Not among them:
Azure's storage queues, where kombu deletes a message as it takes it, and Google's Pub/Sub, where it asks for more time
for as long as the process lives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trapd.ctl.findings import WARNING, Facts, Finding
from trapd.durations import age
from trapd.model import PoolSpec

PREFORK = "prefork"  # the Celery pool of which a drain gives back at once what it does not run
LONGEST_ON_SQS = 43200  # s; Amazon's own limit


@dataclass(frozen=True, slots=True)
class Patience:
    """How a kind of broker is told how long to wait, and how long it does if it is not. Seconds."""

    broker: str
    default: float
    option: str = "visibility_timeout"
    remedy: str = ""


PATIENCE: Mapping[str, Patience] = {  # by Facts.transport
    "redis": Patience("Redis", 3600.0),
    "sqs": Patience(
        "SQS",
        1800.0,
        remedy=f" (at most {LONGEST_ON_SQS}; kombu tells SQS when it makes the queue: for one that exists, in AWS too)",
    ),
    "slmq": Patience("SLMQ", 1800.0),
    "pgmq": Patience("PGMQ", 1800.0),
    "azureservicebus": Patience(
        "Azure Service Bus",
        60.0,
        option="peek_lock_seconds",
        remedy=' (at most 300), with "use_lock_renewal": True and "max_lock_renewal_duration": SECONDS for longer ones',
    ),
}


def redelivery(facts: Facts) -> Iterator[Finding]:
    patience = PATIENCE.get(facts.transport)
    if patience is None:
        return
    options = facts.report["transport_options"]
    limit, chosen = _limit(patience, options)
    holding = [pool.name for pool in facts.workers if _may_hold(facts, pool, limit, chosen)]
    if not holding:
        return
    after = age(limit)
    if facts.transport == "sqs" and options.get("predefined_queues"):
        after = "the VisibilityTimeout of its predefined queue (30 s if it is not set)"
    yield Finding(
        WARNING,
        f"{patience.broker} hands a task out again after {after}, and {', '.join(holding)} may hold one for longer",
        "what is not acknowledged by then (a task that acknowledges late, or waits in a worker's reserve or for its "
        "eta) runs a second time, beside the first",
        f'set broker_transport_options = {{"{patience.option}": SECONDS}} above the longest task{patience.remedy}; or '
        "limits below it: time_limit of the tasks that acknowledge late, and drain_timeout",
    )


def _limit(patience: Patience, options: Mapping[str, object]) -> tuple[float, bool]:
    """Seconds, and whether somebody has chosen them."""
    said = options.get(patience.option)
    if patience.option == "peek_lock_seconds" and options.get("use_lock_renewal"):
        said = options.get("max_lock_renewal_duration") or 3600.0
    try:
        return (float(str(said)), True) if said else (patience.default, False)
    except ValueError:
        return patience.default, False


def _may_hold(facts: Facts, pool: PoolSpec, limit: float, chosen: bool) -> bool:
    """Whoever has chosen the time knows how long the tasks are, but not that a drain is waited for without end."""
    prefork = facts.celery_pool(pool) == PREFORK
    late = facts.tasks_late and not (prefork and _bounded(facts, pool, limit))
    drains_longer = pool.policy.drain_timeout is None or pool.policy.drain_timeout > limit
    return (late or not prefork) if drains_longer else (late and not chosen)


def _bounded(facts: Facts, pool: PoolSpec, limit: float) -> bool:
    """Has each task that acknowledges late a time limit, which only processes obey, below it?"""
    own = facts.report.get("late_limits", {}).values()
    limits = [seconds or pool.time_limit or facts.conf("task_time_limit") for seconds in own]
    return bool(limits) and all(seconds is not None and seconds < limit for seconds in limits)
