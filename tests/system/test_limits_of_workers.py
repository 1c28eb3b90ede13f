"""Acceptance: a worker that is too large or too old is replaced, new before old. On the embedded backend."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, Status, pool
from tests.support.sample import Application
from tests.support.upgrade import Setting
from trapd.control import documents
from trapd.rollout.relief import JITTER

GROWN = 3.0  # s, for the ten minutes that a worker which is too large is ready at least
LIMITS = {
    "hoards": r"has outgrown max_memory: .* its main process has 3\d\d MiB, more than max_memory = 256 MiB",
    "aware": "is about as old as max_age = 1m00s allows",  # by the worker's name that is nearly a tenth less
}
HOARDS = """

hoard = []


@app.task(name="shipyard.stow")
def stow(size):
    hoard.append(b"x" * size)
"""


class Impatient(Daemon):
    """A trapd with another GROWN."""

    by = (
        sys.executable,
        "-c",
        "import runpy, sys\n"
        "from trapd.rollout import relief\n"
        f"relief.GROWN = {GROWN}\n"
        "del sys.argv[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')",
    )


def states(status: Status, name: str) -> list[str]:
    return [instance["state"] for instance in pool(status, name)["instances"]]


def steps(daemon: Daemon, name: str) -> list[documents.Event]:
    """What happened to workers of this pool so far, oldest first."""
    return [event for event in daemon.events() if (event["instance"] or "").startswith(f"{name}@")]


def gone(daemon: Daemon, name: str) -> bool:
    return "gone" in [event["kind"] for event in steps(daemon, name)]


@pytest.mark.timeout(240)
def test_a_worker_that_outgrows_max_memory_and_one_of_max_age_are_replaced_new_before_old(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("redis", request), acks_late=False)
    files, tables = sample.good("1.0"), setting.tables(application)
    files["shipyard/jobs.py"] += HOARDS
    application.put("1.0", files)
    del tables["pools.default"]
    # in threads, so that tasks are the main process's own
    tables["pools.hoards"] = {"workers": 1, "celery_pool": "threads", "max_memory": "256M"}
    tables["pools.aware"] = {"workers": 1, "queues": [f"{setting.broker.queue}-ages"], "max_age": "60s"}
    celeryconfig = setting.celeryconfig()
    with Impatient(short_path, celeryconfig=celeryconfig, tables=tables) as daemon, setting.broker.app() as app:
        daemon.wait_until("workers", lambda status: all(states(status, name) == ["ready"] for name in LIMITS))
        app.send_task("shipyard.stow", (300 << 20,), ignore_result=True)
        daemon.wait_until("others", lambda _: all(gone(daemon, name) for name in LIMITS), timeout=120, every=2)
        for name, why in LIMITS.items():
            old, successor = (f"{name}@1-{slot}" for slot in (1, 2))
            assert [(one["kind"], one["instance"]) for one in steps(daemon, name)] == [
                *((kind, old) for kind in ("started", "ready")),
                *((kind, successor) for kind in ("started", "ready")),
                *((kind, old) for kind in ("draining", "gone")),
            ]
            begun, drained = (steps(daemon, name)[n]["reason"] for n in (2, 4))
            assert re.search(why, drained)
            assert begun == f"{old} {drained}"
            for what in (name, old):
                assert drained in daemon.ctl("why", what).stdout
        _, ready, started, *_ = steps(daemon, "aware")
        assert 60 * (1 - JITTER) <= started["at"] - ready["at"] < 60, "all would go at once"
