"""What `trapctl check` says about periodic tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.ctl.test_findings import SETTINGS, SOUND
from trapd.ctl import rules_beat
from trapd.ctl.celery_rules import RULES
from trapd.ctl.findings import ERROR, OK, WARNING, Facts
from trapd.spec import PoolSpec

PLAIN = {"scheduler": rules_beat.PLAIN_SCHEDULER, "schedule": {}, "unknown": {}}
DAILY = PLAIN | {"schedule": {"daily": "tasks.tidy"}}
DATABASE = PLAIN | {"scheduler": "django_celery_beat.schedulers:DatabaseScheduler"}
WORKERS = PoolSpec("default")


def found(beat: dict[str, Any], *pools: PoolSpec, backend: str = "embedded", file: str = "f") -> list[tuple[str, str]]:
    settings = replace(SETTINGS, pools=(WORKERS, *pools), backend=backend)
    report = SOUND | {"beat": beat, "settings": SOUND["settings"] | {"beat_schedule_filename": file}}
    facts = Facts(settings, report, {})
    return [(one.level, one.what) for rule in rules_beat.RULES for one in rule(facts)]


BEAT = PoolSpec("clock", run="beat")


@pytest.mark.parametrize(
    ("beat", "pools", "expected"),
    [
        (PLAIN, [], []),
        (DAILY, [], [(WARNING, "beat_schedule has 1 periodic task, and no pool here runs beat")]),
        (
            DAILY,
            [PoolSpec("clock", workers=0, run="beat")],
            [(WARNING, "beat_schedule has 1 periodic task, and no pool")],
        ),
        (
            DATABASE,
            [],
            [(WARNING, "beat_scheduler is django_celery_beat.schedulers:DatabaseScheduler, and no pool here")],
        ),
        (
            DAILY,
            [BEAT],
            [(OK, "pool clock sends 1 periodic task of beat_schedule, by celery.beat:PersistentScheduler")],
        ),
        (DATABASE, [BEAT], [(OK, "pool clock sends 0 periodic tasks of beat_schedule, by django_celery_beat.sched")]),
        (PLAIN, [BEAT], [(WARNING, "pool clock runs beat, and beat_schedule is empty")]),
    ],
)
def test_who_sends_periodic_tasks(beat: dict[str, Any], pools: list[PoolSpec], expected: list[tuple[str, str]]) -> None:
    said = found(beat, *pools)
    assert [level for level, _ in said] == [level for level, _ in expected]
    assert all(what.startswith(start) for (_, what), (_, start) in zip(said, expected, strict=True)), said


def test_a_periodic_task_that_nobody_has_is_named() -> None:
    unknown = DAILY | {"unknown": {"daily": "tasks.tidi", "cleanup": "celery.backend_cleanup"}}
    assert found(unknown, BEAT)[1:] == [
        (WARNING, "beat_schedule sends tasks.tidi ('daily'), which tasks:app does not have")
    ]


def test_a_schedule_file_that_a_unit_cannot_write_is_an_error() -> None:
    said = [(ERROR, "pool clock cannot write beat_schedule_filename, /srv/schedule")]
    opened = PoolSpec("clock", run="beat", unit={"ReadWritePaths": "/opt -/srv"})
    assert found(DAILY, BEAT, backend="systemd", file="/srv/schedule")[1:] == said
    assert found(DAILY, BEAT, backend="systemd", file="/var/lib/trapd-worker/mine")[1:] == []
    assert found(DAILY, opened, backend="systemd", file="/srv/schedule")[1:] == []
    assert found(DAILY, BEAT, backend="embedded", file="/srv/schedule")[1:] == []


def test_a_pool_of_beat_reads_no_queue() -> None:
    settings = replace(SETTINGS, pools=(PoolSpec("fast", queues=("fast",)), BEAT))
    facts = Facts(settings, SOUND | {"beat": DAILY}, {})
    said = [one.what for rule in RULES for one in rule(facts)]
    assert "no pool reads the default queue 'celery'" in said
