"""A submitter whose broker is not there, or goes away for good, on a real RabbitMQ and a real Redis, or whose results
are in PostgreSQL: exit status 75, and what to do, in a line."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

import pytest

from tests.support import brokers, environments, postgresql
from tests.support.submitter import Site
from tests.support.worker_lab import client_warnings

IMAGES = 3
pytestmark = [*client_warnings]


def ended(process: subprocess.Popen[str], status: int) -> list[str]:
    """Wait for its end, and return what it said."""
    said = process.communicate(timeout=120)[1]
    assert process.returncode == status, said
    assert "Traceback" not in said
    assert postgresql.PASSWORD not in said
    return said.splitlines()


def wait_until_sent(site: Site, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while site.sent() < IMAGES:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("start", "results", "name"),
    [
        (brokers.rabbitmq_server, "rpc://", r"the broker amqp://guest:**@127.0.0.1:"),
        (brokers.redis_server, None, r"the broker redis://:**@127.0.0.1:"),
    ],
    ids=["rabbitmq", "redis"],
)
def test_a_submitter_whose_broker_goes_away_or_is_not_there_ends_with_75(
    start: Callable[[Path], AbstractContextManager[tuple[str, brokers.Server]]],
    results: str | None,
    name: str,
    short_path: Path,
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        try:
            url, server = stack.enter_context(start(short_path))
        except brokers.MissingServerError as error:
            pytest.skip(str(error))
        site = Site(tmp_path, IMAGES, broker_url=url, result_backend=results or url)
        process = stack.enter_context(site.run())
        wait_until_sent(site, process)
        server.stop()
        said = ended(process, 75)[-1]
        assert said.startswith(f"trapd: cannot go on: {name}"), said
        assert "; see whether it runs, and type the same command again: it goes on from the answers so far" in said

        [said] = ended(stack.enter_context(site.run()), 75)
        assert said.startswith(f"trapd: cannot reach {name}"), said
        assert said.endswith("; see whether it runs")


@pytest.mark.long
def test_results_may_be_in_postgresql_and_a_run_goes_on_when_that_is_back(
    short_path: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Only `make test-long` runs this test: see tests/process/conftest.py."""
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("environments")
    library = environments.tool(kept, "--no-compile", "sqlalchemy", "psycopg2-binary")
    short_path.chmod(0o755)
    with ExitStack() as stack:
        url, _ = stack.enter_context(brokers.redis_server(short_path))
        results = ExitStack()
        port = results.enter_context(postgresql.server(short_path / "one"))
        account = f"{postgresql.USER}:{postgresql.PASSWORD}"
        backend = f"db+postgresql+psycopg2://{account}@127.0.0.1:{port}/postgres"
        site = Site(tmp_path, IMAGES, library, broker_url=url, result_backend=backend)
        with site.worker():
            ended(stack.enter_context(site.run()), 0)
        with closing(sqlite3.connect(site.database)) as database:
            run = database.execute("select state, images, failed from trapd_run").fetchall()
            found = database.execute("select im_id, count(*) from extracted_sources group by im_id").fetchall()
        assert run == [("complete", IMAGES, 0)]
        assert found == [(number, number + 1) for number in range(IMAGES)]
        assert postgresql.query(port, "postgres", "select count(*) from celery_taskmeta") == "0\n", "all were taken"

        site.database.rename(tmp_path / "first.sqlite")
        process = stack.enter_context(site.run(tmp_path / "second"))
        wait_until_sent(site, process)
        results.close()
        said = ended(process, 75)[-1]
        assert said.startswith("trapd: cannot go on: the broker redis://:**@127.0.0.1:"), said
        assert f", or postgresql+psycopg2://{postgresql.USER}:**@127.0.0.1:{port}/postgres for results, " in said
        assert "Connection refused" in said
