"""Rule of `trapctl check` for brokers that deliver a task again after some time, though its worker still runs. Pure.

RabbitMQ notices when a worker is gone. The brokers in this table wait for a time without an acknowledgement; the times
are those of kombu 5.7's transports. Not in the table are Azure's storage queues, where kombu deletes a message when it
takes it, and Google's Pub/Sub, where kombu asks for more time for as long as the process runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trapd.ctl.findings import WARNING, Facts, Finding
from trapd.durations import age
from trapd.spec import PoolSpec

PREFORK = "prefork"  # the Celery pool whose drain hands back at once all messages of tasks that do not run
LONGEST_ON_SQS = 43200  # s; Amazon's own limit


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a kind of broker waits for an acknowledgement by default, in seconds, and the option that sets it."""

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
        f"{patience.broker} delivers a task again after {after}, and {', '.join(holding)} may hold a task for longer",
        "a task that is not acknowledged by then (it acknowledges late, or waits in a worker's reserve or for its "
        "eta) runs a second time, beside the first",
        f'set broker_transport_options = {{"{patience.option}": SECONDS}} above the longest task{patience.remedy}; or '
        "set lower limits: time_limit of the tasks that acknowledge late, and drain_timeout",
    )


def _limit(patience: Patience, options: Mapping[str, object]) -> tuple[float, bool]:
    """Return the time in seconds, and whether the settings have chosen it."""
    chosen = options.get(patience.option)
    if patience.option == "peek_lock_seconds" and options.get("use_lock_renewal"):
        chosen = options.get("max_lock_renewal_duration") or 3600.0
    try:
        return (float(str(chosen)), True) if chosen else (patience.default, False)
    except ValueError:
        return patience.default, False


def _may_hold(facts: Facts, pool: PoolSpec, limit: float, chosen: bool) -> bool:
    """Whether workers of this pool may hold a task for longer than ``limit``.

    An operator who has chosen the time knows how long tasks take, but may not know that a drain has no limit.
    """
    prefork = facts.celery_pool(pool) == PREFORK
    late = facts.tasks_late and not (prefork and _bounded(facts, pool, limit))
    drains_longer = pool.policy.drain_timeout is None or pool.policy.drain_timeout > limit
    return (late or not prefork) if drains_longer else (late and not chosen)


def _bounded(facts: Facts, pool: PoolSpec, limit: float) -> bool:
    """Whether each task that acknowledges late has a time limit below ``limit``; only processes obey time limits."""
    own = facts.report.get("late_limits", {}).values()
    limits = [seconds or pool.time_limit or facts.conf("task_time_limit") for seconds in own]
    return bool(limits) and all(seconds is not None and seconds < limit for seconds in limits)
