"""Acceptance: a broken upgrade never wins. The old workers go on serving, and the next good one rolls out by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.load import Load, span
from tests.support.sample import Application
from tests.support.upgrade import Setting

pytestmark = pytest.mark.timeout(240)

WORKERS = 2


@pytest.fixture
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting(make_broker("redis", request), acks_late=False, workers=WORKERS, concurrency=2)


@pytest.fixture
def daemon(setting: Setting, application: Application, short_path: Path) -> Iterator[Daemon]:
    """trapd with two workers, ready on 1.0."""
    application.put("1.0")
    tables = setting.tables(application) | {"rollout": {"min_ready": "1s", "progress_deadline": "60s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as running:
        running.wait_until("workers on 1.0", settled_on("1.0", WORKERS))
        yield running


@pytest.fixture
def load(setting: Setting, daemon: Daemon) -> Iterator[Load]:
    """A light load that goes on during the whole test."""
    running = Load(setting.broker, daemon.directory, slots=WORKERS * setting.concurrency, share=0.5)
    running.start()
    yield running
    running.abandon()


def workers(status: Status) -> dict[str, int]:
    return {one["name"]: one["pid"] for one in pool(status)["instances"]}


def rejected(status: Status) -> bool:
    return (pool(status)["rollout"] or {}).get("state") == "rejected"


def test_a_version_that_cannot_start_is_rejected_and_the_next_good_one_rolls_out(
    application: Application, daemon: Daemon, load: Load
) -> None:
    reason = "the hull leaks"
    before = daemon.status()

    application.install(application.wheel("2.0", sample.raising("2.0")))
    waited = daemon.ctl("rollout", "status", timeout=120)  # as a script has it: no event may have come yet
    assert waited.returncode == 1
    assert re.search(reason, waited.stdout + waited.stderr)
    status = daemon.wait_until("rejection of 2.0", rejected)
    assert re.search(reason, pool(status)["rollout"]["reason"])
    assert re.search(reason, daemon.ctl("status").stdout)
    why = daemon.ctl("why", "default").stdout
    assert re.search(reason, why)
    assert "Traceback" in why
    refused = r"(?m)^now +disk +nothing changes, because what is installed was refused before for this application: "
    assert re.search(f"{refused}.*{reason}", why)
    settled = daemon.wait_until("the canary's end", lambda now: len(pool(now)["instances"]) == WORKERS)
    assert workers(settled) == workers(before), "an old worker was stopped for a broken upgrade"

    application.install(application.wheel("3.0"))
    daemon.wait_until("workers on 3.0", settled_on("3.0", WORKERS), timeout=90)

    sent, ledger = load.stop(), sample.read_ledger(load.ledger)
    assert all(one.answered for one in sent)
    assert {entry.version for entry in ledger} == {"1.0", "3.0"}
    ends = [entry.at for entry in ledger if entry.event == "end"]
    assert span(ends, min(ends), max(one.at for one in sent)).longest_gap < 8


def test_a_broken_version_on_disk_does_not_keep_the_good_one_from_starting(
    application: Application, daemon: Daemon
) -> None:
    application.install(application.wheel("2.0", sample.raising("2.0")))
    daemon.wait_until("rejection of 2.0", rejected)

    daemon.stop()
    daemon.start()  # as after a reboot: no worker is left from before

    status = daemon.wait_until(
        "workers on 1.0 again",
        lambda now: [one["state"] for one in pool(now)["instances"]] == ["ready"] * WORKERS,
    )
    assert {one["versions"]["shipyard"] for one in pool(status)["instances"]} == {"1.0"}


def test_a_first_version_that_cannot_start_is_tried_again_with_growing_pauses(
    setting: Setting, application: Application, short_path: Path
) -> None:
    application.install(application.wheel("2.0", sample.raising("2.0")))
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=setting.tables(application)) as daemon:
        daemon.wait_until("third failure in a row", lambda now: any(one["failures"] >= 3 for one in failed(now)))
        started = [event for event in daemon.events() if event["kind"] == "started"]
    assert len(started) <= 4 * WORKERS  # three tries of each, and one more may have begun


def failed(status: Status) -> list[dict[str, Any]]:
    return [one for one in pool(status)["instances"] if one["state"] == "failed"]
