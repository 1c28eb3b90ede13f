"""Rule of `trapctl check` for RabbitMQ's consumer_timeout. AMQP cannot ask for its value: the default counts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from trapd.ctl.findings import WARNING, Facts, Finding, Rule
from trapd.spec import PoolSpec

CONSUMER_TIMEOUT = 1800.0  # s; RabbitMQ's default since 3.8.17
PREFETCH = 4  # Celery's default of worker_prefetch_multiplier
PREFORK = "prefork"  # the Celery pool that enforces time limits


def consumer_timeout(facts: Facts) -> Iterator[Finding]:
    """Warn about pools on RabbitMQ whose workers may hold messages for too long without acknowledging them: running
    tasks with late acknowledgement, and the reserve behind running tasks, also with early acknowledgement (at least one
    message for each process)."""
    if facts.transport != "amqp":
        return
    pools = [pool.name for pool in facts.settings.pools if not _in_time(facts, pool)]
    if not pools:
        return
    late = bool(facts.report["late"])
    yield Finding(
        WARNING,
        f"RabbitMQ takes back messages that a worker of {', '.join(pools)} holds for more than consumer_timeout "
        "(30 min by default)",
        ("a task that acknowledges late and takes longer" if late else "a message in reserve behind a longer task")
        + ", or a task that waits longer for its eta, ends its worker (PRECONDITION_FAILED) and begins again "
        "elsewhere, each time, without end",
        "raise consumer_timeout in /etc/rabbitmq/rabbitmq.conf, or x-consumer-timeout of the queue (RabbitMQ 3.12), "
        f"above the longest task{'' if late else ' and its wait'}; or set task_time_limit below 30 min",
    )


def _in_time(facts: Facts, pool: PoolSpec) -> bool:
    """Whether every task has a time limit with which a process acknowledges all its messages before the timeout."""
    of_all = (pool.time_limit, pool.soft_time_limit, facts.conf("task_time_limit"), facts.conf("task_soft_time_limit"))
    limit_of_all = next(filter(None, of_all), None)
    limits = [limit or limit_of_all for limit in facts.report.get("limits", {}).values()]
    if facts.celery_pool(pool) != PREFORK:
        return False
    multipliers = [pool.prefetch_multiplier, facts.conf("worker_prefetch_multiplier"), PREFETCH]
    held = int(next(multiplier for multiplier in multipliers if multiplier is not None))
    return held > 0 and all(limit and limit * held < CONSUMER_TIMEOUT for limit in limits)


RULES: tuple[Rule, ...] = (consumer_timeout,)
