"""What `trapctl check` wants to know of the application, found out on the application's own interpreter.

Imports the installed code, loads the settings, asks the broker for a connection; changes nothing. The last line on
standard output is one JSON document: before it there may be what start-up files (sitecustomize) print; whatever the
application itself prints goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

SCHEMA = 1
BROKER_PATIENCE = 5.0  # s
SETTINGS = (
    "accept_content",
    "broker_connection_max_retries",
    "broker_connection_retry_on_startup",
    "beat_schedule_filename",
    "broker_heartbeat",
    "result_backend",
    "task_acks_late",
    "task_acks_on_failure_or_timeout",
    "task_always_eager",
    "task_create_missing_queue_exchange_type",
    "task_create_missing_queue_type",
    "task_create_missing_queues",
    "task_default_exchange_type",
    "task_reject_on_worker_lost",
    "task_soft_time_limit",
    "task_time_limit",
    "worker_cancel_long_running_tasks_on_connection_loss",
    "worker_concurrency",
    "worker_detect_quorum_queues",
    "worker_direct",
    "worker_enable_remote_control",
    "worker_max_memory_per_child",
    "worker_max_tasks_per_child",
    "worker_pool",
    "worker_prefetch_multiplier",
    "worker_soft_shutdown_timeout",
    "worker_state_db",
)
# Of broker_transport_options only these: others may hold passwords.
TRANSPORT_OPTIONS = (
    "visibility_timeout",
    "peek_lock_seconds",
    "use_lock_renewal",
    "max_lock_renewal_duration",
    "data_folder_in",
    "data_folder_out",
    "control_folder",
    "polling_interval",
)
# Which `celery worker` takes from the settings where its own options are not given.
DAEMON_SETTINGS = ("worker_logfile", "worker_pidfile", "worker_uid", "worker_gid", "worker_umask")
_LIBRARIES = ("eventlet", "gevent")  # Celery's pools that are named after what they need
Report = dict[str, Any]
Step = tuple[str, Callable[[], Any]]


def inspect(
    app: str,
    celeryconfig: Path,
    smoke_test: str | None,
    celery_pools: Sequence[str] = (),
    programs: Sequence[str] = ("worker",),
) -> Report:
    """``celery_pools``: of the pools, "" for one that leaves it to the settings; ``programs``: worker, beat.

    ``failed``: the step that went wrong, after which nothing was tried: python, config, app, settings, own
    settings, options, tasks, smoke test, broker, backend, Celery pool; with ``summary`` and ``detail`` (a traceback).
    """
    report: Report = {"schema": SCHEMA, "python": platform.python_version(), "executable": sys.executable}
    try:
        from trapd.worker.report import ConfigurationError

        parts: dict[str, Any] = {}
        steps = _steps(app, celeryconfig, smoke_test, programs, parts)
    except ImportError as error:
        return report | _failed("python", error, plain=True)
    report["celery"] = metadata.version("celery")
    needed: list[Step] = [  # by workers; nobody is asked yet
        ("broker", lambda: parts["app"].connection_for_write().transport),
        ("backend", lambda: parts["app"].backend),
        ("Celery pool", lambda: _libraries(parts["app"], celery_pools)),
    ]
    from trapd.worker import numba_cache

    started = time.monotonic()
    # in a folder of its own: the workers' cache is code that only their user may write, and only they should run
    with tempfile.TemporaryDirectory(prefix="trapd-check-") as folder:
        cache = numba_cache.wanted(Path(folder), {**os.environ, "NUMBA_CACHE_DIR": folder})
        failure = _first_failure(steps, ConfigurationError)
        cache.abandon()
    if failure:
        return report | failure
    report["seconds"] = round(time.monotonic() - started, 2)
    report["numba"] = cache.document()
    if not parts["app"].conf.task_always_eager and (failure := _first_failure(needed, ConfigurationError)):
        return report | failure
    return report | _look(parts["app"]) | _said(parts["app"], parts["overlay"], vars(parts["config"]))


def _steps(
    name: str, celeryconfig: Path, smoke_test: str | None, programs: Sequence[str], parts: dict[str, Any]
) -> list[Step]:
    """As a worker does it, up to READY; ``found`` gets the application, the celeryconfig and what it replaces."""
    from trapd.worker import application, configured, user_options

    job = configured.installed(name, celeryconfig)

    def tasks() -> None:
        parts["app"].loader.import_default_modules()
        application.complete(parts["app"], parts["overlay"])

    return [
        ("config", lambda: parts.update(config=application.load_config(celeryconfig))),
        ("app", lambda: parts.update(app=application.find_app(name))),
        ("settings", lambda: parts.update(overlay=application.read(parts["config"], job))),
        ("own settings", lambda: application.put(parts["overlay"], parts["app"])),
        ("options", lambda: [user_options.values(parts["app"], program) for program in programs]),
        ("tasks", tasks),
        ("smoke test", lambda: smoke_test and application.resolve(smoke_test, "smoke test")),
    ]


def _libraries(app: Any, celery_pools: Sequence[str]) -> None:
    """Import what these pools need."""
    chosen = {name or app.conf.worker_pool for name in celery_pools}
    for name in sorted(chosen & {*_LIBRARIES}):
        importlib.import_module(name)


def _first_failure(steps: Sequence[Step], plain: type[Exception]) -> Report:
    """Empty if all went well."""
    for name, step in steps:
        try:
            step()
        except (Exception, SystemExit) as error:
            return _failed(name, error, plain=isinstance(error, plain))
    return {}


def _failed(step: str, error: BaseException, *, plain: bool) -> Report:
    """``plain``: the message says it all, a traceback would only hide it."""
    from traceback import format_exception

    text = str(error).partition(" (generation ")[0]  # of which there is none here
    summary = text if plain and text else f"{type(error).__name__}: {text}"
    return {"failed": step, "summary": summary, "detail": "" if plain else "".join(format_exception(error))}


def _said(app: Any, overlay: Any, written: dict[str, Any]) -> Report:
    from celery import signals

    from trapd.worker import in_force

    return {
        "in_force": in_force.in_force(app, overlay),
        "unknown": in_force.unknown(written),
        "unknown_own": in_force.unknown_own(app, overlay),
        "process_init": bool(signals.worker_process_init.receivers),
        "uid": os.geteuid(),
        "daemon": [name for name in DAEMON_SETTINGS if app.conf.get(name) is not None],
    }


def _look(app: Any) -> Report:
    tasks = [task for name, task in app.tasks.items() if not name.startswith("celery.")]
    late = [task for task in tasks if task.acks_late]
    options = app.conf.broker_transport_options or {}
    return {
        "settings": {name: app.conf.get(name) for name in SETTINGS},
        "transport_options": {
            **{name: options[name] for name in TRANSPORT_OPTIONS if name in options},
            "predefined_queues": bool(options.get("predefined_queues")),  # they hold keys
        },
        "queues": sorted(app.amqp.queues),
        "queue_kinds": {name: _kind(queue) for name, queue in app.amqp.queues.items()},
        "default_queue": app.conf.task_default_queue,
        "tasks": len(tasks),
        "late": sorted(task.name for task in late),
        "late_limits": {task.name: task.time_limit for task in late},
        "late_lost": sorted(task.name for task in late if not task.reject_on_worker_lost),
        "early": sorted(task.name for task in tasks if not task.acks_late),
        "beat": _beat(app),
        "limits": {task.name: task.time_limit or task.soft_time_limit for task in tasks},
        "broker": {} if app.conf.task_always_eager else _broker(app),
    }


def _kind(queue: Any) -> Report:
    """Of RabbitMQ's kinds of queues, as far as the settings say; ``limit``: of deliveries."""
    arguments = queue.queue_arguments or {}
    return {
        "type": str(arguments.get("x-queue-type", "classic")),
        "limit": arguments.get("x-delivery-limit"),
        "exchange": queue.exchange.type if queue.exchange else "direct",
    }


def _beat(app: Any) -> Report:
    """What is sent periodically, as far as the settings say: a scheduler may have its schedule elsewhere."""
    entries = (app.conf.beat_schedule or {}).items()
    tasks = {str(name): str(one["task"] if isinstance(one, dict) else one.task) for name, one in entries}
    return {
        "scheduler": str(app.conf.beat_scheduler),
        "schedule": tasks,
        "unknown": {name: task for name, task in tasks.items() if task not in app.tasks},
    }


def _broker(app: Any) -> Report:
    """Connect as a worker would, once."""
    with app.connection_for_write(connect_timeout=BROKER_PATIENCE) as connection:
        report: Report = {"url": connection.as_uri(), "transport": _kind_of(connection)}
        try:
            connection.ensure_connection(max_retries=1, timeout=BROKER_PATIENCE)
            connection.channel().close()  # Redis says only now whether it is there
        except Exception as error:  # every transport has errors of its own
            return report | {"error": f"{type(error).__name__}: {error}"}
        return report | {"error": None}


def _kind_of(connection: Any) -> str:
    """Some transports (SLMQ, Azure's) do not say what they are; then it is the name in the URL."""
    kind = connection.transport.driver_type
    return str(connection.transport_cls).lower() if kind == "N/A" else str(kind)


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answer:
        asked = json.loads(sys.argv[1])
        asked["celeryconfig"] = Path(asked["celeryconfig"])
        answer.write("\n" + json.dumps(inspect(**asked), default=repr))


if __name__ == "__main__":
    main()
