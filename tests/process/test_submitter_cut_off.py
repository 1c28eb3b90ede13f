"""A submitter whose broker is not there, or goes away for good, on a real RabbitMQ and a real Redis: exit status 75,
and what to do, in a line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery
from kombu import pools

from tests.support import brokers, fake_main_line
from tests.support.worker_lab import client_warnings
from trapd.distribute import ledger

ROOT = Path(ledger.__file__).parents[2]
IMAGES = 3
# `python -m trapd.distribute.run`, where there is no numpy
RUN = """
import runpy, sys
from tests.support import fake_exact

sys.modules["trapd.distribute.exact"] = fake_exact
runpy.run_module("trapd.distribute.run", run_name="__main__")
"""
pytestmark = [*client_warnings]


@dataclass
class Site:
    """What a submitter has: a stand-in for Trap, images, and a celeryconfig."""

    place: Path
    url: str

    @contextlib.contextmanager
    def run(self) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-c", RUN, "--", "-i", str(self.place / "images")]
        process = subprocess.Popen(
            [*command, "--db_name", str(self.place / "database.sqlite")],
            env={**os.environ, "PYTHONPATH": f"{self.place / 'site'}:{ROOT}", "HOME": str(self.place)},
            cwd=self.place,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def ended(self, process: subprocess.Popen[str]) -> list[str]:
        """Wait for its end with status 75, and return what it said."""
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 75, said
        assert "Traceback" not in said
        return said.splitlines()

    def sent(self) -> int:
        app = Celery("counter", broker=self.url, set_as_current=False)
        try:
            with app.connection_for_read() as connection:
                channel = connection.default_channel
                with contextlib.suppress(*connection.channel_errors):  # there is no queue yet
                    return int(channel.queue_declare("celery", passive=True).message_count)
            return 0
        finally:
            pools.reset()
            app.close()


@pytest.mark.parametrize(
    ("start", "results", "name"),
    [
        (brokers.rabbitmq_server, "rpc://", r"the broker amqp://guest:**@127.0.0.1:"),
        (brokers.redis_server, None, r"the broker redis://:**@127.0.0.1:"),
    ],
    ids=["rabbitmq", "redis"],
)
def test_a_submitter_whose_broker_goes_away_or_is_not_there_ends_with_75(
    start: Callable[[Path], contextlib.AbstractContextManager[tuple[str, brokers.Server]]],
    results: str | None,
    name: str,
    short_path: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "images").mkdir()
    for number in range(IMAGES):
        (tmp_path / "images" / f"{number}.fits").write_text("1.0")
    fake_main_line.write(tmp_path / "site", "1.4.0")
    with contextlib.ExitStack() as stack:
        try:
            url, server = stack.enter_context(start(short_path))
        except brokers.MissingServerError as error:
            pytest.skip(str(error))
        config = f"broker_url = {url!r}\nresult_backend = {(results or url)!r}\n"
        (tmp_path / "site" / "celeryconfig.py").write_text(config)
        site = Site(tmp_path, url)
        process = stack.enter_context(site.run())
        deadline = time.monotonic() + 60
        while site.sent() < IMAGES:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.2)
        server.stop()
        said = site.ended(process)[-1]
        assert said.startswith(f"trapd: cannot go on: {name}"), said
        assert "; see whether it runs, and type the same command again: it goes on from the answers so far" in said

        [said] = site.ended(stack.enter_context(site.run()))
        assert said.startswith(f"trapd: cannot reach {name}"), said
        assert said.endswith("; see whether it runs")
