"""Acceptance: what does not fit together any more is held back, over a restart of trapd too, until it is made whole, or
somebody takes it as it is. The workers serve meanwhile."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import environments
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.sample import NAME, Application, good
from tests.support.upgrade import Setting
from tests.support.wheels import write_wheel

pytestmark = pytest.mark.timeout(240)

UNFIT = "shipyard requires hull==1.0, but 1.1 is installed"


def wheels(application: Application, version: str) -> tuple[str, str]:
    """Of shipyard, and of the hull that it requires."""
    hull = write_wheel(application.wheels, "hull", version, {"hull/__init__.py": f"VERSION = {version!r}\n"})
    ship = write_wheel(application.wheels, NAME, version, good(version), requires=[f"hull=={version}"])
    return str(ship), str(hull)


def install(application: Application, *files: str) -> None:
    environments.pip(application.python, "install", "--no-index", "--no-deps", "--force-reinstall", *files)


@pytest.fixture
def daemon(request: pytest.FixtureRequest, application: Application, short_path: Path) -> Iterator[Daemon]:
    """trapd with one worker, ready on 1.0."""
    setting = Setting(make_broker("redis", request), acks_late=False, workers=1, concurrency=1)
    install(application, *wheels(application, "1.0"))
    tables = setting.tables(application) | {"rollout": {"min_ready": "0s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as running:
        running.wait_until("workers on 1.0", settled_on("1.0", 1))
        yield running


def broken(status: Status) -> bool:
    return status["disk"]["state"] == "broken" and UNFIT in status["disk"]["reason"]


def test_half_an_upgrade_is_held_back_until_a_person_takes_it_as_it_is(
    application: Application, daemon: Daemon
) -> None:
    ship, hull = wheels(application, "1.1")
    install(application, hull)  # as a pip that is killed between the two
    daemon.wait_until("a broken disk", broken)

    [worker] = pool(daemon.status())["instances"]
    os.kill(worker["pid"], signal.SIGKILL)
    daemon.wait_until(
        "the worker again", lambda status: pool(status)["instances"][0]["pid"] not in (None, worker["pid"])
    )
    daemon.stop()
    daemon.start()
    status = daemon.wait_until("a broken disk after a restart", broken)
    daemon.wait_until("a worker on 1.0", lambda status: any(i["state"] == "ready" for i in pool(status)["instances"]))
    assert pool(status)["generation"] == 1
    asked = daemon.ctl("rollout", "status", "--no-wait")
    assert asked.returncode == 1, asked.stdout
    told = r"^trapctl: what is installed is broken and not rolled out: .*; .*trapctl retry.* \(for \d+s\)\n$"
    assert re.search(told, asked.stderr), asked.stderr
    assert UNFIT in asked.stderr
    assert asked.stdout == ""

    answer = daemon.ctl("retry")
    assert answer.returncode == 0, answer.stderr
    assert "hull 1.0 -> 1.1" in answer.stdout
    status = daemon.wait_until("workers on generation 2", settled_on("1.0", 1))
    assert pool(status)["generation"] == 2
    events = daemon.ctl("events").stdout
    assert f"what is installed is taken as it is: {UNFIT}" in events

    install(application, ship)
    daemon.wait_until("workers on 1.1", settled_on("1.1", 1))
    assert daemon.ctl("status").returncode == 0
    assert daemon.ctl("rollout", "status", "--no-wait").returncode == 0

    module = application.site_packages() / NAME / "__init__.py"
    patched = f"{NAME} is not whole: {module}"
    module.write_text(f"{module.read_text()}PATCHED = True\n")
    status = daemon.wait_until("a word about the patch", lambda status: patched in status["disk"]["reason"])
    assert status["disk"]["reason"].endswith("or take it as it is with trapctl retry")
    assert daemon.ctl("retry").returncode == 0
    status = daemon.wait_until("workers on the patch", settled_on("1.1", 1))
    assert pool(status)["generation"] == 4
    assert any(patched in line for line in status["warnings"])
