"""Each rule of `trapctl check`: it speaks when it should, is silent when it should, and says why and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trapd.ctl.check import findings
from trapd.ctl.findings import ERROR, OK, WARNING, Facts, Finding
from trapd.settings import Settings, WatchSettings
from trapd.spec import Application, Policy, PoolSpec

SETTINGS = Settings(
    file=Path("/etc/trapd/trapd.toml"),
    backend="embedded",
    state_directory=Path("/var/lib/trapd"),
    runtime_directory=Path("/run/trapd"),
    application=Application("tasks:app", "/etc/trapd/celeryconfig.py", "/opt/app/bin/python", None),
    watch=WatchSettings(("trap",), 2.0, 120.0),
    pools=(PoolSpec("default", workers=2),),
)
SOUND: dict[str, Any] = {
    "schema": 1,
    "python": "3.11.7",
    "celery": "5.7.0",
    "disk": {
        "state": "whole",
        "reason": "",
        "problem": "",
        "answered": True,
        "distributions": {"trap": {"version": "1.3.0", "kind": "recorded", "place": "/opt/app/lib/site-packages"}},
        "projects": {},
        "pins": [],
    },
    "seconds": 1.25,
    "settings": {
        "result_backend": "rpc://",
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "task_create_missing_queues": True,
        "worker_prefetch_multiplier": 1,
    },
    "transport_options": {},
    "unknown": {},
    "unknown_own": {},
    "in_force": [{"name": "task_acks_late", "value": "True", "by": "application", "instead_of": None}],
    "daemon": [],
    "process_init": False,
    "uid": 1000,
    "queues": ["celery"],
    "queue_kinds": {"celery": {"type": "classic", "limit": None, "exchange": "direct"}},
    "default_queue": "celery",
    "tasks": 1,
    "late": ["a"],
    "late_lost": [],
    "early": [],
    "beat": {"scheduler": "celery.beat:PersistentScheduler", "schedule": {}, "unknown": {}},
    "limits": {"a": 1200.0},
    "broker": {"url": "amqp://service:**@localhost:5672//", "transport": "amqp", "error": None},
}


def found(
    *, conf: dict[str, Any] | None = None, pool: dict[str, Any] | None = None, environ: dict[str, str] | None = None,
    backend: str = "embedded", **report: Any,
) -> list[Finding]:  # fmt: skip
    """What is found where all is sound but for this."""
    settings = replace(SETTINGS, backend=backend, pools=(replace(SETTINGS.pools[0], **(pool or {})),))
    document = SOUND | report | {"settings": SOUND["settings"] | (conf or {})}
    return findings(Facts(settings, document, environ or {}))


def wrong(**changes: Any) -> list[tuple[str, str]]:
    return [(one.level, one.what) for one in found(**changes) if one.level != OK]


def test_where_all_is_sound_nothing_is_wrong_and_it_says_what_was_looked_at() -> None:
    assert [one.what for one in found()] == [
        "/etc/trapd/trapd.toml is sound; pools: default (2)",
        "trap 1.3.0 is installed for /opt/app/bin/python",
        "tasks:app imports in 1.2 s: 1 task, Celery 5.7.0, Python 3.11.7",
        "the broker amqp://service:**@localhost:5672// answers",
        "settings that are not Celery's defaults: 1 by the application",
        "workers start in the folder /var/lib/trapd/workers (plain `celery worker`: where it is called)",
    ]
    assert wrong() == []


def on(transport: str, **options: Any) -> dict[str, Any]:
    return {"broker": SOUND["broker"] | {"transport": transport}, "transport_options": options}


REDIS = on("redis", visibility_timeout=90000) | {"pool": {"policy": Policy(drain_timeout=600.0)}}
GUEST = {"broker": SOUND["broker"] | {"url": "amqp://guest:**@localhost:5672//"}}
OBEYS_GUEST = "workers obey remote control, and use RabbitMQ's account guest"
AGAIN = "{} delivers a task again after {}, and default may hold a task for longer"
PREDEFINED = "the VisibilityTimeout of its predefined queue (30 s if it is not set)"
CANCEL = "worker_cancel_long_running_tasks_on_connection_loss"
NO_CANCEL = {CANCEL: False}
FOLDER = on("filesystem", data_folder_in="/q", data_folder_out="/q")
TRY_OUT = (WARNING, "the broker is a folder (filesystem://)")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"pool": {"environment": {"REMAP_SIGTERM": "SIGQUIT"}}},
            [(ERROR, "REMAP_SIGTERM is set in [pools.default] environment")],
        ),
        (
            {"broker": SOUND["broker"] | {"error": "OSError: refused"}},
            [(ERROR, "cannot reach the broker amqp://service:**@localhost:5672//")],
        ),
        (GUEST, [(WARNING, OBEYS_GUEST)]),
        (GUEST | {"conf": {"worker_enable_remote_control": True}}, [(WARNING, OBEYS_GUEST)]),
        (GUEST | {"conf": {"worker_enable_remote_control": False}}, []),
        (REDIS | {"broker": REDIS["broker"] | {"url": "redis://guest:**@h/0"}, "conf": NO_CANCEL}, []),
        ({"conf": {"task_always_eager": True}}, [(WARNING, "task_always_eager is on: THE WORKERS GET NO TASKS")]),
        ({"conf": {"result_backend": None}}, [(WARNING, "there is no result backend")]),
        ({"conf": {"result_backend": "disabled://"}}, [(WARNING, "there is no result backend")]),
        ({"early": ["a"]}, [(WARNING, "task a is acknowledged early, before running")]),
        ({"early": ["a", "b", "c"]}, [(WARNING, "3 tasks (a, b, ...) are acknowledged early, before running")]),
        (
            {"late_lost": ["a"]},
            [(WARNING, "task a is acknowledged late, without task_reject_on_worker_lost")],
        ),
        (
            {"conf": NO_CANCEL},
            [(WARNING, f"{CANCEL} is off with RabbitMQ and late acknowledgement")],
        ),
        ({"conf": NO_CANCEL | {"task_acks_late": False}, "late": []}, []),
        (REDIS, [(WARNING, f"{CANCEL} is on with Redis")]),
        (REDIS | {"conf": NO_CANCEL}, []),
        (REDIS | {"conf": NO_CANCEL} | on("redis"), [(WARNING, AGAIN.format("Redis", "1h00m"))]),
        (REDIS | {"conf": NO_CANCEL, "late_limits": {"a": 3000}} | on("redis"), []),
        (REDIS | {"conf": NO_CANCEL | {"task_time_limit": 3000}, "late_limits": {"a": None}} | on("redis"), []),
        (
            REDIS | {"conf": NO_CANCEL, "late_limits": {"a": 3000, "b": None}} | on("redis"),
            [(WARNING, AGAIN.format("Redis", "1h00m"))],
        ),
        (on("sqs"), [(WARNING, AGAIN.format("SQS", "30m00s"))]),
        (on("sqs", visibility_timeout=36000), [(WARNING, AGAIN.format("SQS", "10h00m"))]),
        (on("sqs", visibility_timeout=36000) | {"pool": {"policy": Policy(drain_timeout=600.0)}}, []),
        (on("sqs", predefined_queues=True), [(WARNING, AGAIN.format("SQS", PREDEFINED))]),
        (on("pgmq"), [(WARNING, AGAIN.format("PGMQ", "30m00s"))]),
        (on("azureservicebus"), [(WARNING, AGAIN.format("Azure Service Bus", "1m00s"))]),
        (on("azureservicebus", use_lock_renewal=True), [(WARNING, AGAIN.format("Azure Service Bus", "1h00m"))]),
        (on("azurestoragequeues"), []),
        (on("gcpubsub"), []),
        (
            on("redis") | {"conf": NO_CANCEL},
            [(WARNING, AGAIN.format("Redis", "1h00m"))],
        ),
        (
            on("redis", visibility_timeout=300) | {"conf": NO_CANCEL, "pool": {"policy": Policy(drain_timeout=600.0)}},
            [(WARNING, AGAIN.format("Redis", "5m00s"))],
        ),
        (on("redis", visibility_timeout=300) | {"conf": NO_CANCEL, "pool": {"policy": Policy(drain_timeout=0.0)}}, []),
        (on("redis") | {"conf": NO_CANCEL | {"task_acks_late": False}, "late": []}, []),
        (
            on("redis")
            | {"conf": NO_CANCEL | {"task_acks_late": False}, "late": [], "pool": {"celery_pool": "threads"}},
            [(WARNING, AGAIN.format("Redis", "1h00m"))],
        ),
        ({"celery": "5.6.0"}, [(WARNING, "Celery 5.6.0 sends RabbitMQ no heartbeats while a worker drains")]),
        ({"celery": "5.5.3", "conf": {"broker_heartbeat": 0}}, []),
        ({"celery": "5.5.3", "conf": NO_CANCEL | {"task_acks_late": False}, "late": []}, []),
        (REDIS | {"conf": NO_CANCEL, "celery": "5.5.3"}, []),
        ({"celery": "5.10.0b1"}, []),
        (on("memory"), [(ERROR, "the broker is in memory")]),
        (FOLDER, [TRY_OUT]),
        (
            on("filesystem", data_folder_in="/q", data_folder_out="/r"),
            [TRY_OUT, (ERROR, "data_folder_in and data_folder_out are two folders")],
        ),
        (on("sqlalchemy"), [(WARNING, "the broker is a database (sqla+)")]),
        ({"conf": {"worker_soft_shutdown_timeout": 5.0}}, [(WARNING, "worker_soft_shutdown_timeout is set")]),
        ({"conf": {"worker_direct": True}}, [(WARNING, "worker_direct is on")]),
        (
            {"conf": {"task_create_missing_queues": False}, "pool": {"queues": ("celery", "gpu")}},
            [(ERROR, "pool default reads gpu, which task_queues does not have")],
        ),
        ({"pool": {"queues": ("celery", "gpu")}}, []),
        ({"pool": {"queues": ("gpu",)}}, [(WARNING, "no pool reads the default queue 'celery'")]),
        (
            {"conf": {"broker_connection_max_retries": 100}},
            [(WARNING, "broker_connection_max_retries is 100")],
        ),
        (
            {"conf": {"broker_connection_retry_on_startup": False}},
            [(WARNING, "broker_connection_retry_on_startup is off")],
        ),
        ({"unknown": {"CELERYD_FORCE_EXECV": None}}, [(WARNING, "Celery knows no setting CELERYD_FORCE_EXECV")]),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_setting_that_can_lose_work_is_named(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert wrong(**changes) == expected
    for one in found(**changes):
        assert one.level == OK or (one.reason and one.remedy)


def test_where_tasks_run_in_their_submitters_the_broker_and_the_rest_do_not_matter() -> None:
    eager = {"task_always_eager": True, "result_backend": None, "worker_direct": True}
    assert [what for _, what in wrong(conf=eager, broker=SOUND["broker"] | {"error": "refused"}, early=["a"])] == [
        "task_always_eager is on: THE WORKERS GET NO TASKS"
    ]


def test_a_remapped_sigterm_is_found_in_an_environment_file_too(tmp_path: Path) -> None:
    file = tmp_path / "shipyard.env"
    file.write_text("REMAP_SIGTERM=SIGQUIT\n")
    assert wrong(pool={"environment_file": str(file)}) == [(ERROR, f"REMAP_SIGTERM is set in {file}")]


def test_a_remapped_sigterm_of_ones_own_shell_is_harmless_and_said() -> None:
    (said,) = [one for one in found(environ={"REMAP_SIGTERM": "SIGQUIT"}) if "REMAP_SIGTERM" in one.what]
    assert (said.level, said.what) == (OK, "REMAP_SIGTERM is set here; trapd does not pass it on to workers")


def test_a_misspelt_setting_comes_with_what_was_meant() -> None:
    (said,) = [one for one in found(unknown={"task_ack_late": "task_acks_late"}) if one.level != OK]
    assert said.remedy == "did you mean task_acks_late?"


@pytest.mark.parametrize(
    ("step", "what"),
    [
        ("start", "cannot run /opt/app/bin/python"),
        ("time", "cannot import tasks:app in time"),
        ("python", "cannot load Celery on /opt/app/bin/python"),
        ("config", "cannot load /etc/trapd/celeryconfig.py"),
        ("app", "cannot import tasks:app on /opt/app/bin/python"),
        ("settings", "cannot use the settings in /etc/trapd/celeryconfig.py"),
        ("tasks", "cannot import the task modules of tasks:app"),
        ("smoke test", "cannot find the smoke test None"),
        ("broker", "cannot use the broker_url in /etc/trapd/celeryconfig.py"),
        ("backend", "cannot use the result_backend in /etc/trapd/celeryconfig.py"),
        ("Celery pool", "cannot use a pool's celery_pool on /opt/app/bin/python"),
    ],
)
def test_what_failed_is_one_error_and_nothing_is_claimed_of_what_was_not_tried(step: str, what: str) -> None:
    report = {"failed": step, "summary": "it said so", "detail": "Traceback"}
    (said,) = [one for one in findings(Facts(SETTINGS, report, {})) if one.level != OK]
    assert (said.level, said.what, said.detail) == (ERROR, what, "Traceback")
    assert said.reason == "it said so; no worker can start"
    assert said.remedy
