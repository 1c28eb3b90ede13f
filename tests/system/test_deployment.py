"""docs/deployment.md: its commands do what it says, with the exit statuses that it says; its YAML is a playbook."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting

DOCUMENT = Path(__file__).parents[2] / "docs/deployment.md"
KNOWN = {"ansible.builtin.pip", "ansible.builtin.copy", "ansible.builtin.service", "ansible.builtin.command"}
ABOUT = {"name", "notify", "changed_when"}


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def play() -> dict[str, Any]:
    (found,) = yaml.safe_load(block("yaml"))
    return dict(found)


def commands() -> dict[str, list[str]]:
    """What each handler that is a command runs, without the first word."""
    words = {one["name"]: shlex.split(one.get("ansible.builtin.command", "")) for one in play()["handlers"]}
    assert all(said[0] == "trapctl" for said in words.values() if said)
    return {name: said[1:] for name, said in words.items() if said}


def test_the_playbook_calls_modules_that_there_are_and_handlers_that_it_has() -> None:
    handlers = [one["name"] for one in play()["handlers"]]
    for task in [*play()["tasks"], *play()["handlers"]]:
        (module,) = set(task) - ABOUT
        assert module in KNOWN
        notified = task.get("notify", [])
        assert {notified} if isinstance(notified, str) else set(notified) <= set(handlers)
    waits = next(one for one in play()["handlers"] if one["name"] == "Wait for the rollout")
    assert waits["changed_when"] is False
    assert handlers.index("Reload trapd") < handlers.index("Wait for the rollout")


@pytest.fixture
def daemon(request: pytest.FixtureRequest, application: Application, short_path: Path) -> Iterator[Daemon]:
    setting = Setting(make_broker("redis", request), acks_late=False, workers=1, concurrency=1)
    application.install(application.wheel("1.0"))
    tables = setting.tables(application) | {"rollout": {"min_ready": "1s", "progress_deadline": "20s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as running:
        running.wait_until("trapd", bool)
        yield running


@pytest.mark.timeout(240)
def test_the_commands_end_as_the_document_says(daemon: Daemon, application: Application) -> None:
    wait, recycle = commands()["Wait for the rollout"], commands()["Recycle the workers"]
    assert shlex.split(block("sh").splitlines()[-1]) == ["trapctl", *wait]

    assert daemon.ctl(*wait).returncode == 0  # while the first rollout goes on
    assert settled_on("1.0", 1)(daemon.status())

    application.install(application.wheel("2.0"))
    done = daemon.ctl(*wait)  # at once, before trapd can know what was installed
    assert done.returncode == 0, done.stderr
    assert settled_on("2.0", 1)(daemon.status())

    before = pool(daemon.status())
    assert daemon.ctl(*wait).returncode == 0  # once more: nothing
    assert pool(daemon.status())["generation"] == before["generation"]

    assert daemon.ctl(*recycle).returncode == 0
    assert pool(daemon.status())["rollout"]["id"] == before["rollout"]["id"] + 1
    assert "the environment changed" in daemon.ctl("events").stdout

    application.install(application.wheel("3.0", sample.raising("3.0")))
    done = daemon.ctl(*wait)
    assert done.returncode == 1
    assert "the hull leaks" in done.stdout
    # the worker that was asked whether 2.0 still starts may yet drain
    daemon.wait_until("2.0 to serve alone", settled_on("2.0", 1))

    application.install(application.wheel("2.1"))
    daemon.ctl(*wait)
    daemon.ctl("celery", "call", sample.NAP, "--args", f'[9.0, "{daemon.directory}/ledger"]')
    while not (daemon.directory / "ledger").exists():
        time.sleep(0.1)
    application.install(application.wheel("2.2"))
    assert daemon.ctl(*wait[:-1], "5s").returncode == 75
    assert daemon.ctl(*wait).returncode == 0  # ask again

    daemon.kill()
    assert daemon.ctl(*wait).returncode == 7
