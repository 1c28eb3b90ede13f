"""Rules of `trapctl check` for Celery's settings that can lose work, or keep work from being done. Pure.

The facts were measured on Celery 5.7 with RabbitMQ, Redis and the filesystem transport.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trapd.ctl import (
    rules_accounts,
    rules_beat,
    rules_consumer_timeout,
    rules_numba,
    rules_options,
    rules_quorum,
    rules_settings,
)
from trapd.ctl.findings import ERROR, OK, WARNING, Facts, Finding, Rule
from trapd.ctl.rules_redelivery import redelivery
from trapd.sizes import counted

HEARTBEATS_WHILE_DRAINING = (5, 6, 1)  # the first Celery that sends them; 5.5.3 was tried, and repeats tasks


def imported(facts: Facts) -> Iterator[Finding]:
    report, app = facts.report, facts.settings.application
    yield Finding(
        OK,
        f"{app.app} imports in {report['seconds']:.1f} s: {counted(report['tasks'], 'task')}, "
        f"Celery {report['celery']}, Python {report['python']}",
    )


def broker(facts: Facts) -> Iterator[Finding]:
    broker = facts.report["broker"]
    if broker["error"] is None:
        yield Finding(OK, f"the broker {broker['url']} answers")
    else:
        yield Finding(
            ERROR,
            f"cannot reach the broker {broker['url']}",
            f"{broker['error']}; workers wait for it and run nothing",
            f"start it, or correct broker_url in {facts.settings.application.celeryconfig}",
        )


def eager(facts: Facts) -> Iterator[Finding]:
    by_file = any(
        setting["name"] == "task_always_eager" and setting["by"] == "celeryconfig"
        for setting in facts.report["in_force"]
    )
    if facts.conf("task_always_eager"):
        yield Finding(
            WARNING,
            "task_always_eager is on: THE WORKERS GET NO TASKS",
            "each task runs in the process that submits it and never reaches the broker; "
            + ("trapd starts no workers" if by_file else "the application itself sets it, and workers stay idle"),
            "remove task_always_eager (CELERY_ALWAYS_EAGER) for a service that is to use workers",
        )


def backend(facts: Facts) -> Iterator[Finding]:
    if not facts.conf("result_backend") or str(facts.conf("result_backend")).startswith("disabled"):
        yield Finding(
            WARNING,
            "there is no result backend",
            "results and errors of tasks are thrown away: no program can wait for them",
            'set result_backend, for example to "rpc://"',
        )


def early_acks(facts: Facts) -> Iterator[Finding]:
    if facts.report["early"]:
        yield Finding(
            WARNING,
            f"{_some(facts.report['early'])} acknowledged early, before running",
            "a recycle loses nothing, but a worker that is killed (out of memory, power cut) loses what it runs",
            "set task_acks_late and task_reject_on_worker_lost, if running twice does no harm",
        )


def late_acks(facts: Facts) -> Iterator[Finding]:
    if facts.report["late_lost"]:
        yield Finding(
            WARNING,
            f"{_some(facts.report['late_lost'])} acknowledged late, without task_reject_on_worker_lost",
            "when a child process is killed its task is acknowledged all the same, and lost",
            "set task_reject_on_worker_lost = True beside task_acks_late",
        )


def connection_loss(facts: Facts) -> Iterator[Finding]:
    cancels = facts.conf("worker_cancel_long_running_tasks_on_connection_loss")
    if facts.transport == "redis" and cancels:
        yield Finding(
            WARNING,
            "worker_cancel_long_running_tasks_on_connection_loss is on with Redis",
            "after a short loss of the connection running tasks are cancelled, and come back only after the "
            "visibility_timeout (1 h by default); without it they just finish",
            "remove it: it is for RabbitMQ",
        )
    if facts.transport == "amqp" and facts.tasks_late and not cancels:
        yield Finding(
            WARNING,
            "worker_cancel_long_running_tasks_on_connection_loss is off with RabbitMQ and late acknowledgement",
            "after a short loss of the connection every running task runs a second time, beside the first",
            "set worker_cancel_long_running_tasks_on_connection_loss = True",
        )


def silent_drains(facts: Facts) -> Iterator[Finding]:
    if facts.transport != "amqp" or not facts.tasks_late or facts.conf("broker_heartbeat") == 0:
        return
    if _version(facts.report["celery"]) < HEARTBEATS_WHILE_DRAINING:
        yield Finding(
            WARNING,
            f"Celery {facts.report['celery']} sends RabbitMQ no heartbeats while a worker drains",
            "after some minutes RabbitMQ closes the connection: tasks that still run run a second time elsewhere",
            f"install Celery {'.'.join(map(str, HEARTBEATS_WHILE_DRAINING))} or later for the application",
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall("[0-9]+", text)[:3])


def other_transports(facts: Facts) -> Iterator[Finding]:
    options = facts.report["transport_options"]
    if facts.transport == "memory":
        yield Finding(
            ERROR,
            "the broker is in memory",
            "each process has one of its own: tasks never reach a worker",
            "use RabbitMQ, Redis or filesystem://",
        )
    if facts.transport == "filesystem":
        yield Finding(
            WARNING,
            "the broker is a folder (filesystem://)",
            "about 160 messages a second at most; a worker that is killed loses what it runs and what it had reserved",
            "use RabbitMQ or Redis for a service; a folder is for trying out",
        )
        if options.get("data_folder_in") != options.get("data_folder_out"):
            yield Finding(
                ERROR,
                "data_folder_in and data_folder_out are two folders",
                "workers read one and submitters with the same settings write the other",
                "set both to the same folder in broker_transport_options",
            )
    if facts.transport in ("sqlalchemy", "sqla", "sql"):
        yield Finding(
            WARNING,
            "the broker is a database (sqla+)",
            "it has no broadcasts: inspect and control commands reach no worker, and delivered rows are kept for ever",
            "use RabbitMQ, Redis or filesystem://",
        )


def soft_shutdown(facts: Facts) -> Iterator[Finding]:
    if (facts.conf("worker_soft_shutdown_timeout") or 0) > 0:
        yield Finding(
            WARNING,
            "worker_soft_shutdown_timeout is set",
            "it has no effect on drains of trapd, which last as long as drain_timeout allows; a worker that gets "
            "SIGQUIT sleeps for the whole time and then loses early acknowledged tasks",
            "remove it, and set drain_timeout in trapd.toml",
        )


def worker_direct(facts: Facts) -> Iterator[Finding]:
    if facts.conf("worker_direct"):
        yield Finding(
            WARNING,
            "worker_direct is on",
            "each worker has a queue of its own name, and names change with every generation: a task that is sent to "
            "an old worker's queue stays there",
            "remove it, and route by queues of pools",
        )


def queues(facts: Facts) -> Iterator[Finding]:
    if facts.conf("task_create_missing_queues") is not False:
        return
    known = {*facts.report["queues"]}
    for pool in facts.workers:
        if missing := sorted(set(pool.queues) - known):
            yield Finding(
                ERROR,
                f"pool {pool.name} reads {', '.join(missing)}, which task_queues does not have",
                "task_create_missing_queues is off, so its workers cannot start",
                "name the queues in task_queues, or switch task_create_missing_queues on",
            )


def unread_queue(facts: Facts) -> Iterator[Finding]:
    """Warn if no pool reads the queue to which tasks go by default."""
    default = facts.report["default_queue"]
    if not any(default in (pool.queues or [default]) and default not in pool.exclude_queues for pool in facts.workers):
        yield Finding(
            WARNING,
            f"no pool reads the default queue {default!r}",
            "tasks that are sent without a queue wait there for ever, unless another machine reads it",
            f"add it to the queues of a pool in {facts.settings.file}, or set task_default_queue",
        )


def reconnecting(facts: Facts) -> Iterator[Finding]:
    retries = facts.conf("broker_connection_max_retries")
    if retries is not None:
        yield Finding(
            WARNING,
            f"broker_connection_max_retries is {retries}",
            "a worker that has not reached its broker after so many tries gives up and has to be started again",
            "set broker_connection_max_retries = None: the worker waits, and trapd shows it",
        )
    if facts.conf("broker_connection_retry_on_startup") is False:
        yield Finding(
            WARNING,
            "broker_connection_retry_on_startup is off",
            "a worker that starts before its broker ends at once",
            "set broker_connection_retry_on_startup = True",
        )


def unknown_names(facts: Facts) -> Iterator[Finding]:
    for name, meant in facts.report["unknown"].items():
        yield Finding(
            WARNING,
            f"Celery knows no setting {name}",
            "it is ignored without a word",
            f"did you mean {meant}?" if meant else f"remove it from {facts.settings.application.celeryconfig}",
        )


def _some(tasks: list[str]) -> str:
    """Return ``task a is`` or ``3 tasks (a, b, ...) are``."""
    if len(tasks) == 1:
        return f"task {tasks[0]} is"
    shown = ", ".join(tasks[:2]) + (", ..." if len(tasks) > 2 else "")
    return f"{len(tasks)} tasks ({shown}) are"


WITHOUT_WORKERS: tuple[Rule, ...] = (imported, eager, unknown_names, *rules_settings.ANYWHERE)
RULES: tuple[Rule, ...] = (
    imported,
    broker,
    *rules_accounts.RULES,
    backend,
    early_acks,
    late_acks,
    connection_loss,
    silent_drains,
    redelivery,
    other_transports,
    soft_shutdown,
    worker_direct,
    queues,
    unread_queue,
    reconnecting,
    unknown_names,
    *rules_settings.ANYWHERE,
    *rules_settings.RULES,
    *rules_options.RULES,
    *rules_beat.RULES,
    *rules_quorum.RULES,
    *rules_consumer_timeout.RULES,
    *rules_numba.RULES,
)


def celery_findings(facts: Facts) -> Iterator[Finding]:
    """Apply the rules to an application that imports; if tasks run in their submitters, only the rules for that."""
    for rule in WITHOUT_WORKERS if facts.conf("task_always_eager") else RULES:
        yield from rule(facts)
