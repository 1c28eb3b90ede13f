"""`trapctl check` on settings that are said in two places."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ctl.test_findings import found, wrong
from trapd.ctl.findings import ERROR, OK, WARNING
from trapd.spec import Amount, Policy


@pytest.mark.parametrize(
    ("pool", "conf", "what"),
    [
        ({"concurrency": 4}, {"worker_concurrency": 8}, "concurrency = 4 of trapd.toml, not worker_concurrency = 8"),
        ({"celery_pool": "solo"}, {"worker_pool": "threads"}, "celery_pool = solo of trapd.toml, not worker_pool"),
        (
            {"max_tasks_per_child": 5},
            {"worker_max_tasks_per_child": 6},
            "max_tasks_per_child = 5 of trapd.toml, not worker_max_tasks_per_child = 6",
        ),
    ],
)
def test_where_trapd_toml_and_celery_both_speak_it_is_said_who_is_heard(
    pool: dict[str, object], conf: dict[str, object], what: str
) -> None:
    (said,) = [one for one in found(pool=pool, conf=conf) if "of trapd.toml" in one.what]
    assert said.level == OK
    assert said.what.startswith(f"pool default has {what}")


def test_where_only_one_of_them_speaks_or_both_say_the_same_there_is_nothing_to_say() -> None:
    for pool, conf in (
        ({"concurrency": 4}, {"worker_concurrency": None, "worker_pool": "prefork"}),
        ({}, {"worker_concurrency": 4, "worker_pool": "threads"}),
        ({"concurrency": 4}, {"worker_concurrency": 4}),
    ):
        assert not [one for one in found(pool=pool, conf=conf) if "of trapd.toml" in one.what]


def test_settings_of_units_where_there_are_no_units_are_named() -> None:
    (said,) = [one for one in found(pool={"unit": {"MemoryMax": "8G", "Nice": 5}}) if one.level != OK]
    assert (said.level, said.what) == (WARNING, "[pools.default.systemd] has no effect: MemoryMax, Nice")


@pytest.mark.parametrize(
    ("pool", "what"),
    [
        (
            {"policy": Policy(max_draining=Amount(2)), "singleton": True},
            "max_draining = 2 has no effect in pool default",
        ),
        (
            {"policy": Policy(Amount(0), Amount(1), Amount(50, percent=True)), "workers": 4},
            "pool default may have more than 4 workers although max_surge = 0: max_draining = 50%",
        ),
        ({"policy": Policy(Amount(0), Amount(1), Amount(0))}, None),
        ({"policy": Policy(Amount(0), Amount(1))}, None),
        ({"policy": Policy(max_draining=Amount(2))}, None),
    ],
)
def test_what_max_draining_says_in_vain_or_against_max_surge_is_named(pool: dict[str, Any], what: str | None) -> None:
    assert [one.what for one in found(pool=pool) if "max_draining" in one.what] == ([what] if what else [])


def one(name: str, value: str, by: str, instead_of: str | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "by": by, "instead_of": instead_of}


SAID = [
    one("broker_url", "'redis://h'", "celeryconfig", "'amqp://dev'"),
    one("task_default_queue", "'jobs'", "application"),
    one("task_serializer", "'json'", "celeryconfig", "'pickle'"),
]


def test_each_setting_is_listed_with_who_says_it_and_what_it_replaced() -> None:
    (listed,) = [finding for finding in found(in_force=SAID, pool={"concurrency": 4}) if finding.detail]
    assert listed.what == "settings that are not Celery's defaults: 1 by the application, 2 by celeryconfig.py"
    assert listed.detail.splitlines() == [
        "broker_url = 'redis://h'  (celeryconfig, not the application's 'amqp://dev')",
        "task_default_queue = 'jobs'  (application)",
        "task_serializer = 'json'  (celeryconfig, not the application's 'pickle')",
        "worker_concurrency = 4  (trapd.toml, pool default)",
    ]


def test_what_celeryconfig_overrides_is_a_warning_unless_a_service_has_to_fix_it() -> None:
    assert wrong(in_force=SAID) == [
        (WARNING, "task_serializer is 'json' by celeryconfig.py; the application sets 'pickle'")
    ]


def test_a_typo_in_the_applications_own_settings_is_named_with_what_is_meant() -> None:
    (said,) = [
        finding for finding in found(unknown_own={"CELERY_TASK_ACK_LATE": "CELERY_TASK_ACKS_LATE"}) if finding.remedy
    ]
    assert said.what == "Celery knows no setting CELERY_TASK_ACK_LATE"
    assert said.remedy == "did you mean CELERY_TASK_ACKS_LATE?"


@pytest.mark.parametrize("eager", [False, True])
def test_a_typo_in_celeryconfig_is_named_even_where_no_worker_is_needed(eager: bool) -> None:
    (said,) = [
        finding
        for finding in found(conf={"task_always_eager": eager}, unknown={"task_ack_late": "task_acks_late"})
        if "task_ack_late" in finding.what
    ]
    assert (said.level, said.remedy) == (WARNING, "did you mean task_acks_late?")


def test_settings_of_a_daemon_that_trapd_does_not_obey_are_named() -> None:
    assert wrong(daemon=["worker_logfile", "worker_uid"]) == [
        (WARNING, "worker_logfile has no effect"),
        (WARNING, "worker_uid has no effect"),
    ]


PICKLE = {"conf": {"accept_content": ["json", "pickle"]}}
REFUSED = (ERROR, "Celery refuses to start workers of pool default: they accept pickle, as root")
FORCED = (WARNING, "workers of pool default accept pickle, as root (C_FORCE_ROOT)")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (PICKLE, []),
        ({"uid": 0}, []),
        (PICKLE | {"uid": 0}, [REFUSED]),
        (PICKLE | {"uid": 0, "environ": {"C_FORCE_ROOT": "1"}}, [FORCED]),
        (PICKLE | {"uid": 0, "pool": {"environment": {"C_FORCE_ROOT": "1"}}}, [FORCED]),
    ],
)
def test_pickle_and_root_do_not_go_together(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert wrong(**changes) == expected


def test_a_unit_that_runs_as_root_is_meant_under_systemd() -> None:
    for unit, environ, expected in (
        ({}, {}, []),
        ({"User": "root"}, {"C_FORCE_ROOT": "1"}, [REFUSED]),  # which a unit does not inherit
    ):
        pool = {"unit": unit}
        assert wrong(**PICKLE, uid=0, backend="systemd", pool=pool, environ=environ) == expected


ALIVE = "worker_proc_alive_timeout"


@pytest.mark.parametrize(
    ("limit", "by", "process_init", "warned"),
    [(1.0, "application", True, True), (1.0, "application", False, False), (60.0, "celeryconfig", True, False)],
)
def test_a_child_whose_handlers_may_outlast_its_time_is_warned_of(
    limit: float, by: str, process_init: bool, warned: bool
) -> None:
    said = wrong(in_force=[one(ALIVE, str(limit), by)], conf={ALIVE: limit}, process_init=process_init, seconds=30.0)
    assert bool(said) is warned


def test_an_eager_application_is_told_from_an_eager_celeryconfig() -> None:
    for by, words in (("celeryconfig", "trapd starts no workers"), ("application", "workers stay idle")):
        said = found(in_force=[one("task_always_eager", "True", by)], conf={"task_always_eager": True})
        assert words in next(finding.reason for finding in said if "NO TASKS" in finding.what)


@pytest.mark.parametrize(
    ("backend", "unit", "folder"),
    [
        ("embedded", {}, "/var/lib/trapd/workers"),
        ("systemd", {}, "/var/lib/trapd-worker"),
        ("systemd", {"WorkingDirectory": "/srv/project"}, "/srv/project"),
    ],
)
def test_it_is_said_where_relative_paths_begin(backend: str, unit: dict[str, Any], folder: str) -> None:
    said = [finding.what for finding in found(backend=backend, pool={"unit": unit})]
    assert f"workers start in the folder {folder} (plain `celery worker`: where it is called)" in said
