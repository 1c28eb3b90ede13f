"""What docs/users.md says of answers while the broker restarts, on a real RabbitMQ: by rpc:// the answer of a task that
ends meanwhile is lost, in a database it is not. Only `make test-long` runs this test: see tests/process/conftest.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu import pools

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


def test_an_answer_while_the_broker_is_away_is_lost_as_a_message_and_not_in_a_database(
    short_path: Path, tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pytestconfig.cache is not None
    library = environments.tool(pytestconfig.cache.mkdir("environments"), "--no-compile", "sqlalchemy")
    monkeypatch.syspath_prepend(library)
    with ExitStack() as stack:
        try:
            url, server = stack.enter_context(brokers.rabbitmq_server(short_path))
        except brokers.MissingServerError as error:
            pytest.skip(str(error))
        message = Side(tmp_path / "message", url, "rpc://", library)
        database = Side(tmp_path / "database", url, f"db+sqlite:///{tmp_path}/results.sqlite", library)
        for side in (message, database):
            stack.callback(side.close)
            stack.enter_context(side.worker())
        by_message, by_database = message.send("first"), database.send("first")
        for side in (message, database):
            side.wait("first", "begun")
        brokers.rabbitmqctl(server, "stop_app")
        for side in (message, database):
            side.end("first")
            side.wait("first", "ended")
        message.until("told", lambda: "Connection refused" in message.log.read_text())
        assert by_database.get(timeout=PATIENCE) == "answer", "the database is there, whatever becomes of the broker"
        brokers.rabbitmqctl(server, "start_app")

        later = message.send("later")
        message.end("later")
        assert later.get(timeout=PATIENCE) == "answer", "the way back is open again"
        assert not (by_message.ready() and by_message.successful()), "an error, or nothing at all"
        another_program = Celery("another", set_as_current=False, backend=database.app.conf.result_backend)
        assert another_program.AsyncResult(by_database.id).get(timeout=PATIENCE) == "answer"
