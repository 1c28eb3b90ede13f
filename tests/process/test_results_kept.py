"""What docs/users.md says of answers while the broker restarts, on a real RabbitMQ and Celery 5.7.

By rpc:// the answer of a task that ends meanwhile is lost if the broker was stopped in order while the program waited.
If the broker was killed, the program hears the answer, or of a failure. In a database no answer is lost. Only
`make test-long` runs these tests: see tests/process/conftest.py.

What decides is whether the program's queue is there when the worker sends. The queue is durable (up to Celery 5.6 it
was not), and deleted with its last consumer: a broker that stops in order closes the program's connection first, and
deletes the queue; one that is killed has no time for it. A program declares its queue again when it sends a task or
reads answers, so the tests let it do neither before the worker has sent.

How long the broker is away decides only what is sent: the worker's process tries for broker_connection_timeout (4 s),
then the worker reports OperationalError when it has the broker again. No test here depends on that time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import celery
import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu import pools
from kombu.exceptions import OperationalError

from tests.support import brokers, environments
from tests.support.worker_lab import client_warnings

pytestmark = [*client_warnings, pytest.mark.long]

PATIENCE = 120.0  # s, on a machine that does much else
TASKS = """
import time
from pathlib import Path

from celery import Celery

app = Celery("results")
app.config_from_object("celeryconfig")


@app.task(name="results.until")
def until(place):
    Path(place, "begun").touch()
    while not Path(place, "end").exists():
        time.sleep(0.05)
    Path(place, "ended").touch()
    return "answer"
"""


class Side:
    """A worker, and a submitter, with one kind of results."""

    def __init__(self, place: Path, url: str, backend: str, library: Path) -> None:
        self.place, self.log = place, place / "worker.log"
        place.mkdir()
        settings = {"broker_url": url, "result_backend": backend, "task_default_queue": place.name}
        (place / "tasks.py").write_text(TASKS)
        (place / "celeryconfig.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
        self.env = {**os.environ, "PYTHONPATH": f"{place}:{library}"}
        self.app = Celery(place.name, set_as_current=False)
        self.app.conf.update(settings)

    @contextmanager
    def worker(self) -> Iterator[None]:
        options = ("-c", "1", "--without-mingle", "--without-gossip", "-n", f"{self.place.name}@host")
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tasks", "worker", *options],
                env=self.env,
                cwd=self.place,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    def send(self, name: str) -> AsyncResult:
        (self.place / name).mkdir()
        return self.app.send_task("results.until", (str(self.place / name),))

    def send_from(self, other: Side, name: str) -> None:
        """Send this side's worker a task from a program that expects no message, and declares no queue for answers."""
        (self.place / name).mkdir()
        other.app.send_task("results.until", (str(self.place / name),), queue=self.place.name, ignore_result=True)

    def wait(self, name: str, what: str) -> None:
        self.until(f"{what} {name}", (self.place / name / what).exists)

    def until(self, what: str, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"not {what}:\n{self.log.read_text()}"
            time.sleep(0.05)

    def end(self, name: str) -> None:
        (self.place / name / "end").touch()

    def close(self) -> None:
        if self.app.backend.is_async:
            self.app.backend.result_consumer.stop()
        pools.reset()
        self.app.close()


class Restart:
    """A task by rpc:// and one with a database, both of which end while the broker is away."""

    def __init__(self, stack: ExitStack, short_path: Path, tmp_path: Path, library: Path) -> None:
        self.folder = short_path
        try:
            self.url, self.server = stack.enter_context(brokers.rabbitmq_server(short_path))
        except brokers.MissingServerError as error:
            pytest.skip(str(error))
        self.later_servers = stack.enter_context(ExitStack())  # stopped when the workers have gone
        self.message = Side(tmp_path / "message", self.url, "rpc://", library)
        self.database = Side(tmp_path / "database", self.url, f"db+sqlite:///{tmp_path}/results.sqlite", library)
        for side in (self.message, self.database):
            stack.callback(side.close)
            stack.enter_context(side.worker())

    def restart(self, stop: Callable[[], None], start: Callable[[], None]) -> tuple[AsyncResult, AsyncResult]:
        """The two results. When this returns, the worker has sent its answer by message."""
        by_message, by_database = self.message.send("first"), self.database.send("first")
        self.message.app.backend.add_pending_result(by_message)  # as a program that waits: its queue has a consumer
        for side in (self.message, self.database):
            side.wait("first", "begun")
        stop()
        for side in (self.message, self.database):
            side.end("first")
            side.wait("first", "ended")
        assert by_database.get(timeout=PATIENCE) == "answer", "the database is there, whatever becomes of the broker"
        start()
        self.message.send_from(self.database, "next")
        self.message.wait("next", "begun")  # the worker has one process: it has done with the first task and its answer
        self.message.end("next")
        return by_message, by_database

    def stop_in_order(self) -> None:
        brokers.rabbitmqctl(self.server, "stop_app")

    def start_application(self) -> None:
        brokers.rabbitmqctl(self.server, "start_app")

    def kill(self) -> None:
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait(60)

    def start_again(self) -> None:
        log = self.folder / "again.log"
        again = brokers.spawn("rabbitmq", [str(brokers.RABBITMQ)], log, self.server.env)
        self.later_servers.callback(again.stop)
        again.wait_until(lambda: brokers.listens(int(self.url.rstrip("/").rpartition(":")[2])))


@pytest.fixture
def broker(
    short_path: Path, tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Restart]:
    assert pytestconfig.cache is not None
    library = environments.tool(pytestconfig.cache.mkdir("environments"), "--no-compile", "sqlalchemy")
    monkeypatch.syspath_prepend(library)
    with ExitStack() as stack:
        yield Restart(stack, short_path, tmp_path, library)


def test_an_answer_while_the_broker_restarts_in_order_is_lost_as_a_message_and_not_in_a_database(
    broker: Restart,
) -> None:
    by_message, by_database = broker.restart(broker.stop_in_order, broker.start_application)
    later = broker.message.send("later")
    broker.message.end("later")
    assert later.get(timeout=PATIENCE) == "answer", "the way back is open again"
    lost = not by_message.on_ready.ready or isinstance(by_message.result, OperationalError)
    assert lost, "the first answer would have come before the later one"
    another_program = Celery("another", set_as_current=False, backend=broker.database.app.conf.result_backend)
    assert another_program.AsyncResult(by_database.id).get(timeout=PATIENCE) == "answer"


@pytest.mark.skipif(celery.VERSION < (5, 7), reason="before Celery 5.7 the queue of answers is not durable")
def test_a_program_hears_of_a_task_that_ends_while_a_killed_broker_is_away(broker: Restart) -> None:
    by_message, _ = broker.restart(broker.kill, broker.start_again)
    heard = by_message.get(timeout=PATIENCE, propagate=False)
    assert heard == "answer" or isinstance(heard, OperationalError), "what trapd.distribute sends again"
