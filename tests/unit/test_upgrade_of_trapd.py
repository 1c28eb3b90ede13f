"""What an earlier trapd has written down means the same to this one: an upgrade of trapd alone recycles nobody.

The values below were written by trapd 0.1.0 of November 2026, before ``Application`` was a value of its own.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.builders import application
from tests.support.fake_backend import FakeBackend
from tests.support.fake_gauge import FakeGauge
from tests.support.fake_snapshots import FakeSnapshots
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd import migrations
from trapd.controller import Controller
from trapd.generations import manifest
from trapd.generations.collect import removable
from trapd.history import SqliteHistory
from trapd.model import Disk, DiskState
from trapd.rollout import want
from trapd.spec import Application, PoolSpec
from trapd.triggers import Triggers

SHOP = application("shop.celery:app", smoke_test="shop.checks:smoke")
GPU = PoolSpec("gpu", concurrency=2, queues=("gpu", "slow"), environment={"OMP_NUM_THREADS": "1"}, time_limit=3600.0)
BEAT = PoolSpec("beat", run="beat", singleton=True)
POOLS = [PoolSpec("default"), BEAT]

GENERATION = """{"number": 3,
    "fingerprint": "f3", "versions": {"shop": "1.3"}, "launch": {"default": "75d696c825a884fd",
    "beat": "d7174a22901a48ee"}, "reason": "shop 1.2 -> 1.3", "actor": "watch", "wall": 1795800000.0, "eager": false,
    "application": "shop.celery:app shop.checks:smoke"}"""
STATE = """{"pool": "%s", "wanted": 3, "good": [3], "refused": {"f4+shop.celery:app shop.checks:smoke": "it raised"},
    "undone": null, "paused": false, "workers": null}"""
MANIFEST = """{"schema": 1, "number": 3, "fingerprint": "f3", "versions": {"shop": "1.3"}, "reason": "shop 1.2 -> 1.3",
    "wall": 1795800000.0, "app": "shop.celery:app", "python": "/opt/shop/bin/python", "smoke_test": "shop.checks:smoke",
    "watched": {"shop": ["shop"]}, "pools": {"default": {"concurrency": null, "queues": [], "celery_pool": null,
    "max_tasks_per_child": null, "environment": {}}}, "import_path": ["code", "runtime"], "digest": "f3",
    "celeryconfig": "etc/celeryconfig.py"}"""


@pytest.mark.parametrize(
    ("app", "digests"),
    [
        (Application("trap.distribute:app", "/c", "/p"), ("34f70a04ac304b2e", "31240da7b19c1584", "c1a07110bf00a236")),
        (SHOP, ("75d696c825a884fd", "72339ea0ed284b67", "d7174a22901a48ee")),
    ],
)
def test_launch_digests_stay_the_same(app: Application, digests: tuple[str, ...]) -> None:
    """Another digest is another launch: every worker would be replaced."""
    assert tuple(want.launch_digest(pool, app.identity) for pool in (PoolSpec("default"), GPU, BEAT)) == digests


def test_the_environment_of_questions_is_no_part_of_what_is_started() -> None:
    asked = Application("a", "/c", "/p", environment={"TRAPD_STATE_DIRECTORY": "/s"}, environment_file="/e")
    assert asked == Application("a", "/c", "/p")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "history.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        migrations._make_tables(database.execute)
        database.execute("PRAGMA user_version = 1")
        database.execute("UPDATE counters SET value = 3 WHERE name = 'generation'")
        database.execute("INSERT INTO generations VALUES (3, ?)", (GENERATION,))
        for pool in ("default", "beat"):
            database.execute("INSERT INTO pools VALUES (?, NULL, ?)", (pool, STATE % pool))
    return path


def test_nobody_is_recycled_and_what_was_refused_stays_refused(file: Path) -> None:
    snapshots, clock = FakeSnapshots(), VirtualClock()
    backend = FakeBackend(clock)
    snapshots.kept[3] = {}
    with closing(SqliteHistory(file)) as history:
        controller = Controller(
            POOLS,
            backend=backend,
            snapshots=snapshots,
            history=history,
            clock=clock,
            gauge=FakeGauge(backend),
            collect=removable,
            accounts=NO_ACCOUNTS,
            application=SHOP,
        )
        for fingerprint in ("f3", "f4"):  # what runs, and what this application has failed with
            disk = Disk(DiskState.SETTLED, fingerprint=fingerprint, versions={"shop": fingerprint})
            asyncio.run(Triggers(controller).disk_changed(disk))
        assert {pool: state.wanted for pool, state in controller.states.items()} == {"default": 3, "beat": 3}


def test_a_manifest_starts_what_it_started(tmp_path: Path) -> None:
    (tmp_path / manifest.NAME).write_text(MANIFEST)
    read = manifest.read(tmp_path)
    assert (read.app, read.python, read.smoke_test) == ("shop.celery:app", "/opt/shop/bin/python", "shop.checks:smoke")
    assert read.pools == json.loads(MANIFEST)["pools"]
