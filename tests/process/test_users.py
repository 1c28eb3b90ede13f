"""docs/users.md on a real RabbitMQ, whose accounts are those that the document shows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from amqp.exceptions import AccessRefused, NotFound
from celery import Celery
from kombu import Connection, Exchange, Queue, pools

from tests.applications import transcripts
from tests.process.test_distribute_submit import images, worker
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.submitter import Site
from trapd.distribute import submit
from trapd.distribute.app import EXTRACT_SOURCES
from trapd.distribute.endings import RunError
from trapd.distribute.hub import Hub

PAGE = "docs/users.md"
SUBMITTER = transcripts.ROOT / "etc/celeryconfig-submitter.py"
PIDBOX = "default-7-1@host.celery.pidbox"  # of the worker in tests/process/test_distribute_submit.py


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The URLs of the accounts that the document makes."""
    place = tmp_path_factory.mktemp("rabbitmq")
    text = transcripts.section(PAGE, "For the administrator: one account for each user")
    typed = [shlex.split(command) for command, _ in transcripts.commands(text)]
    try:
        with brokers.rabbitmq_server(place) as (url, server):
            brokers.rabbitmqctl(server, "eval", ", ".join(_in_erlang(*words) for words in typed) + ".")
            made = [words[2:] for words in typed if words[1] == "add_user"]
            yield {name: url.replace("guest:guest", f"{name}:{password}") for name, password in made}
    except brokers.MissingServerError as error:
        pytest.skip(str(error))


def _in_erlang(program: str, verb: str, user: str, *words: str) -> str:
    """The call behind a command: each rabbitmqctl starts an Erlang of its own, which takes seconds."""
    assert program == "rabbitmqctl"
    places = ["/"] if verb == "set_permissions" else []
    quoted = ", ".join(f"<<{json.dumps(word)}>>" for word in (user, *places, *words, "tests"))
    return f"ok = rabbit_auth_backend_internal:{verb}({quoted})"


@pytest.fixture
def service(accounts: dict[str, str], tmp_path: Path) -> Iterator[Broker]:
    """A worker of the service, with Trap's tasks on a stand-in for Trap."""
    broker = brokers.on_rabbitmq(accounts["trapd"])
    broker = replace(broker, config=broker.celeryconfig(task_default_queue="celery"), queue="celery")
    with worker(broker, tmp_path) as ledger:
        deadline = time.monotonic() + 60
        while not is_read(accounts["trapd"], "celery"):
            assert time.monotonic() < deadline, ledger.with_name("worker.log").read_text()
            time.sleep(0.1)
        yield broker


def is_read(url: str, queue: str) -> bool:
    with Connection(url) as connection:
        try:
            return bool(connection.channel().queue_declare(queue, passive=True).consumer_count)
        except NotFound:
            return False


@pytest.fixture
def home(accounts: dict[str, str], tmp_path: Path) -> Path:
    """Alice's: with her account, and the shipped celeryconfig beside the program of the document."""
    home = tmp_path / "alice"
    (home / ".config/trapd").mkdir(parents=True)
    (home / ".config/trapd/broker_url").write_text(accounts["alice"] + "\n")
    shutil.copy(SUBMITTER, home / "celeryconfig.py")
    (program,) = re.findall(r"^```python\n# (?=submit_images)(.*?)^```$", page(), re.MULTILINE | re.DOTALL)
    (home / "submit_images.py").write_text(f"# {program}")
    return home


def page() -> str:
    return (transcripts.ROOT / PAGE).read_text()


def run(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(home)}
    return subprocess.run(
        [sys.executable, *command], cwd=home, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def alice(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    monkeypatch.setenv("HOME", str(home))
    settings: dict[str, object] = {}
    exec(compile((home / "celeryconfig.py").read_text(), "celeryconfig.py", "exec"), settings)
    app = Celery("alice", set_as_current=False)
    app.conf.update({name: value for name, value in settings.items() if name[0] != "_" and name.islower()})
    yield app
    with contextlib.suppress(AttributeError):  # of Celery, if no answer was ever waited for
        app.backend.result_consumer.stop()
    pools.reset()
    app.close()


@pytest.mark.usefixtures("service")
def test_the_program_of_the_page_gets_its_answers_by_an_account_that_can_only_submit(home: Path) -> None:
    good, bad = *images(home, 1), str(home / "none.fits")
    done = run(home, "submit_images.py", good, bad)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(
        [f"{good} 0 sources by trap 9.8.7", f"{bad} failed: cannot read {bad}: No such file or directory"]
    )


REFUSED: dict[str, Callable[[Celery], object]] = {
    "ping": lambda app: app.control.ping(timeout=1),
    "inspect": lambda app: app.control.inspect(timeout=1).active(),
    "shutdown": lambda app: app.control.shutdown(),
    "revoke": lambda app: app.control.revoke("a-task"),
    "a queue that is not hers": lambda app: app.send_task(EXTRACT_SOURCES, ("/a",), queue="secret", retry=False),
    "a command straight to a worker": lambda app: publish(app, PIDBOX),
    "another's answer": lambda app: publish(app, "0d3f6f3c-0000-4000-8000-000000000000"),
    "to take tasks": lambda app: channel(app, lambda channel: channel.basic_get("celery")),
    "to empty a queue": lambda app: channel(app, lambda channel: channel.queue_purge("celery")),
    "to delete a queue": lambda app: channel(app, lambda channel: channel.queue_delete("celery")),
}


def publish(app: Celery, queue: str) -> None:
    """By RabbitMQ's default exchange, which leads to every queue."""
    with app.connection_for_write() as connection:
        command: dict[str, object] = {"method": "shutdown", "arguments": {}, "destination": None}
        connection.Producer(auto_declare=False).publish(command, exchange="", routing_key=queue, serializer="json")


def channel(app: Celery, act: Callable[..., object]) -> object:
    with app.connection_for_write() as connection:
        return act(connection.channel())


def test_the_account_can_neither_control_nor_see_nor_take_what_is_not_its_own(
    alice: Celery, service: Broker, tmp_path: Path
) -> None:
    for what, act in REFUSED.items():
        with pytest.raises(AccessRefused):
            pytest.fail(f"{what}: {act(alice)}")
    unread = Queue("cpu", Exchange("cpu", "topic", no_declare=True), "cpu", no_declare=True)
    with pytest.raises(NotFound):  # at once, not an answer that never comes
        alice.send_task(EXTRACT_SOURCES, ("/a",), queue=unread, retry=False)
    (image,) = images(tmp_path, 1)
    given_up = submit.Submitter(alice)
    given_up.send(image)
    given_up.withdraw(0.1)  # revokes what waits, where that is allowed
    answer = alice.send_task(EXTRACT_SOURCES, (image,)).get(timeout=60)
    assert answer["error"] is None  # the worker is there still


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("queue", "where", "refusal"), [("bob", "the queue bob", "403"), (None, "Celery's default", "404")]
)
def test_a_run_that_may_not_send_to_a_queue_says_so(alice: Celery, queue: str | None, where: str, refusal: str) -> None:
    """It was a traceback."""
    if queue is None:  # no worker has read it yet, so its exchange is not there
        alice.conf.task_queues = [Queue("gpu", Exchange("gpu", "topic", no_declare=True), "gpu", no_declare=True)]
        alice.conf.task_default_queue = "gpu"
    hub = Hub(alice, queue_name=queue)
    hub.start()
    with pytest.raises(RunError) as told:
        hub.ask(submit.Request("a.fits", EXTRACT_SOURCES, ("/a.fits",), {}))
    hub.close()
    assert str(told.value).startswith(f"cannot send tasks to {where}")
    assert f"({refusal}) " in str(told.value)


def test_who_has_no_account_is_told_where_to_write_it(home: Path) -> None:
    (home / ".config/trapd/broker_url").unlink()
    done = run(home, "-c", "import celeryconfig")
    assert done.stderr.splitlines()[-1].endswith(
        f"cannot read {home}/.config/trapd/broker_url: No such file or directory; "
        "write amqp://NAME:PASSWORD@HOST:5672// into it"
    )


def test_a_run_names_a_queue_that_her_celeryconfig_does_not(accounts: dict[str, str], tmp_path: Path) -> None:
    """Celery would make the queue, which is not allowed to her."""
    service = Site(tmp_path / "service", 0, None, **_service(accounts))
    alice = Site(tmp_path / "alice", 2, None, **_service(accounts))
    (alice.place / ".config/trapd").mkdir(parents=True)
    (alice.place / ".config/trapd/broker_url").write_text(accounts["alice"])
    shutil.copy(SUBMITTER, alice.place / "site/celeryconfig.py")
    with service.worker():
        deadline = time.monotonic() + 60
        while not is_read(accounts["trapd"], "cpu"):
            assert time.monotonic() < deadline, (service.place / "worker.log").read_text()
            time.sleep(0.1)
        for queue, status, words in (
            ("secret", 1, "refused for user 'alice'; name a queue that workers read"),
            ("gpu", 1, "NOT_FOUND - no exchange 'gpu' in vhost '/'; name a queue that workers read"),
            ("cpu", 0, "2 images"),
        ):
            with alice.run(queue=queue) as process:
                said = process.communicate(timeout=120)[1]
            assert (process.returncode, words in said, "Traceback" in said) == (status, True, False), said


def _service(accounts: dict[str, str]) -> dict[str, str]:
    return {"broker_url": accounts["trapd"], "result_backend": "rpc://", "task_default_queue": "cpu"}
