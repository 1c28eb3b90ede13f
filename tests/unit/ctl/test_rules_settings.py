"""`trapctl check` on settings that are said in two places."""

from __future__ import annotations

import pytest

from tests.unit.ctl.test_findings import found
from trapd.ctl.findings import OK, WARNING


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
