"""The broker's password stays where it was written: on a real systemd, trapd and its workers go through good times and
bad ones, and then it is looked for everywhere.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.nspawn.conftest import Boot
from tests.support.brokers import on_rabbitmq
from tests.support.installation import Installation
from tests.support.machine import Done
from tests.support.service import CELERYCONFIG, Service, at_rest

WORD = f"S3cret{uuid.uuid4().hex}"  # which stands in no other file of this or another machine
PATTERN = f"{WORD[:-1]}[{WORD[-1]}]"  # finds the word, and not itself
BROKER, RESULTS = f"amqp://trap:{WORD}@localhost:5672//", f"redis://:{WORD}@127.0.0.1:6379/0"
USERS = ("root", "nobody")
GOOD = ("status", "why default", "plan", "logs", "events", "generations", "rollout history", "check", "rollout status")
CELERY = ("celery report", "celery status", "celery inspect conf", "celery inspect stats", "celery inspect report")
BAD = ("status", "status --json", "why default", "events --json", "logs", "check", "check --json")


@dataclass
class Told:
    """The service, and what was said to whom in all that time."""

    service: Service
    said: dict[tuple[str, str, str], Done] = field(default_factory=dict)

    def ask(self, when: str, *verbs: str) -> None:
        for user in USERS:
            for verb in verbs:
                self.said[when, user, verb] = self.service.ctl(*verb.split(), user=user)

    def in_bad_times(self, when: str, problem: str) -> None:
        """Wait until trapd speaks of it, and ask everything."""
        self.service.wait(f"word of {problem}", lambda: problem in self.service.ctl("status").out)
        self.ask(when, *BAD)


@pytest.fixture(scope="module")
def told(
    boot_for_module: Boot, installation: Installation, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    service = Service(
        boot_for_module,
        installation=installation,
        environment=environment,
        broker=on_rabbitmq(BROKER),
        seed=tmp_path_factory.mktemp("seed"),
        result_backend=RESULTS,
    )
    machine, told = service.machine, Told(service)
    machine.sh("useradd -G trapd olga; systemctl start redis-server").check()
    machine.run("redis-cli", input=f"config set requirepass {WORD}\n").check()
    machine.run("rabbitmqctl", "add_user", "trap", input=f"{WORD}\n").check()
    machine.run("rabbitmqctl", "set_permissions", "trap", ".*", ".*", ".*").check()
    machine.systemctl("start", "trapd")
    service.wait_until("workers", at_rest)
    service.wait_for("end", service.nap(0.1))
    told.ask("good times", *GOOD, *CELERY)

    machine.systemctl("stop", "rabbitmq-server", timeout=90)
    told.in_bad_times("no broker", "broker")
    machine.systemctl("start", "rabbitmq-server", timeout=90)
    service.wait_until("workers", at_rest)

    machine.run("rabbitmqctl", "change_password", "trap", input="another\n").check()
    machine.systemctl("kill", "--signal=KILL", f"trapd-worker-{min(service.workers())}")
    told.in_bad_times("wrong password", "Login was refused")
    machine.run("rabbitmqctl", "change_password", "trap", input=f"{WORD}\n").check()
    service.wait_until("workers", at_rest, 120)  # the longer it was wrong, the later they are tried again

    good = machine.read(CELERYCONFIG)
    machine.sh(f'sed -i "s,5672//\',5672//," {CELERYCONFIG}').check()
    told.in_bad_times("a quotation mark is missing", "SyntaxError")
    machine.put(CELERYCONFIG, good, mode=0o640, owner="root:trapd-worker")
    service.wait_until("workers", at_rest)
    machine.run("journalctl", "--sync").check()
    return told


def test_the_story_was_as_it_should_be(told: Told) -> None:
    """Otherwise what is not found below proves nothing."""
    assert WORD in told.service.machine.read(CELERYCONFIG)
    assert "trap:***@localhost:5672" in told.said["no broker", "root", "check"].out
    assert "SyntaxError" in told.said["a quotation mark is missing", "nobody", "status"].out
    assert {told.said["good times", "root", verb].code for verb in CELERY} == {0}
    assert "pong" in told.service.ctl("celery", "inspect", "ping").out


def test_no_command_shows_it_to_anybody(told: Told) -> None:
    assert [asked for asked, done in told.said.items() if WORD in done.out + done.err] == []


def test_it_is_in_no_file_but_the_celeryconfig_and_the_generations_copies(told: Told) -> None:
    machine = told.service.machine
    top = "/etc /home /root /run /tmp /var"
    found = machine.sh(f"grep -rla -e '{PATTERN}' {top} 2>/dev/null || :").check().split()
    copies = [path for path in found if path.startswith("/var/lib/trapd/generations/")]
    assert {path.removeprefix("/var/lib/trapd/generations/").partition("/")[2] for path in copies} == {
        "etc/celeryconfig.py"
    }
    stored = [path for path in found if path.startswith("/var/lib/trapd/store/")]  # which the copies are links to
    assert set(found) - {*copies, *stored} == {CELERYCONFIG}
    for path in found:
        assert machine.run("cat", path, user="nobody").code != 0


def test_it_is_in_no_process_arguments_or_environment(told: Told) -> None:
    found = told.service.machine.sh(
        f"grep -la -e '{PATTERN}' /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || :"
    )
    assert found.check() == ""


def test_it_is_neither_in_the_journal_nor_in_what_systemd_shows(told: Told) -> None:
    machine = told.service.machine
    assert "trap:**@" in machine.journal()  # Celery's words for it
    for words in (machine.run("journalctl", "-o", "export"), machine.run("systemctl", "show", "--all", "*trapd*")):
        assert WORD not in words.check()
