"""A trapd whose watch hears nothing: the kernel's limits, in a user namespace that has limits of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.daemon import Daemon, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting

LIMITS = Path("/proc/sys/user")
WATCHES, INSTANCES = "max_inotify_watches", "max_inotify_instances"
FEW, MANY = 4, 10_000
REMEDY = "raise fs.inotify.max_user_"


class Limited(Daemon):
    """trapd in a user namespace of its own, from the start with ``limits``."""

    def begin_with(self, **limits: int) -> None:
        first = "".join(f"echo {limit} >{LIMITS / name}; " for name, limit in limits.items())
        self.by = ("unshare", "--user", "--map-root-user", "sh", "-euc", f'{first}exec "$0" "$@"')

    def limit(self, name: str, limit: int) -> None:
        assert self.process is not None
        enter = ["nsenter", "--user", "--target", str(self.process.pid), "--preserve-credentials"]
        subprocess.run([*enter, "sh", "-euc", f"echo {limit} >{LIMITS / name}"], check=True)

    def is_deaf(self, sentence: str) -> None:
        """In the status, by its exit status, and as an event."""
        status = self.wait_until("the problem", lambda now: any(sentence in problem for problem in now["problems"]))
        assert status["daemon"]["watch"] == "looks"
        asked = self.ctl("status")
        assert (asked.returncode, f"problem: {sentence}" in asked.stdout) == (1, True), asked.stdout
        assert REMEDY in asked.stdout
        self.wait_until("its event", lambda _: self.told(sentence) == ["trouble"])

    def hears_again(self, sentence: str) -> None:
        status = self.wait_until("the end of it", lambda status: not status["problems"])
        assert status["daemon"]["watch"] == "events"
        assert self.ctl("status").returncode == 0
        self.wait_until("its event", lambda _: self.told(sentence) == ["trouble", "relief"])

    def told(self, sentence: str) -> list[str]:
        """The kinds of the events that tell it."""
        return [event["kind"] for event in self.events() if sentence in event["reason"]]


@pytest.fixture
def limited(short_path: Path, application: Application, request: pytest.FixtureRequest) -> Limited:
    setting = Setting(make_broker("embedded", request), acks_late=False, workers=1, concurrency=1)
    application.put("1.0")
    tables = {**setting.tables(application), "rollout": {"min_ready": "0s"}}
    return Limited(short_path, celeryconfig=setting.celeryconfig(), tables=tables)


@pytest.mark.timeout(240)
def test_a_watch_that_loses_its_watches_is_a_problem_and_an_event_until_it_hears_again(
    limited: Limited, application: Application
) -> None:
    limited.begin_with()
    with limited as daemon:
        daemon.wait_until("a worker", settled_on("1.0", 1))
        assert daemon.ctl("status").returncode == 0
        limited.limit(WATCHES, FEW)
        application.put("1.1")  # which is heard; then all has to be watched anew
        sentence = "cannot watch every folder of the installed code: "
        limited.is_deaf(sentence)
        daemon.wait_until("the upgrade", settled_on("1.1", 1))
        application.put("1.2")
        daemon.wait_until("one that nobody heard", settled_on("1.2", 1))
        limited.limit(WATCHES, MANY)
        limited.hears_again(sentence)


@pytest.mark.timeout(240)
def test_a_watch_that_cannot_begin_is_a_problem_and_an_event_until_it_hears(
    limited: Limited, application: Application
) -> None:
    limited.begin_with(**{INSTANCES: 0})
    with limited as daemon:
        daemon.wait_until("a worker", settled_on("1.0", 1))
        sentence = "cannot watch any folder: "
        limited.is_deaf(sentence)
        limited.limit(INSTANCES, MANY)
        limited.hears_again(sentence)
        application.put("1.1")
        daemon.wait_until("an upgrade that was heard", settled_on("1.1", 1), 20)
