"""A submitter that is interrupted or killed in the middle of a run: the same command goes on from the kept answers."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support import brokers
from tests.support.submitter import Site
from tests.support.worker_lab import client_warnings

IMAGES = 4
SLOW = IMAGES - 1  # the image that takes as long as a file beside it is there
HELD = f"""
import time

_read = read_pyse_image


def read_pyse_image(path, **options):
    while path.endswith("/{SLOW}.fits") and os.path.exists(path + ".held"):
        time.sleep(0.05)
    return _read(path, **options)
"""
pytestmark = [*client_warnings]


def wait(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def ended(process: subprocess.Popen[str], status: int) -> str:
    said = process.communicate(timeout=120)[1]
    assert process.returncode == status, said
    assert "Traceback" not in said
    return said


def test_a_run_that_is_killed_and_then_interrupted_ends_complete_from_the_kept_answers(
    short_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("TRAPD_LEDGER", str(ledger))

    def begun() -> int:
        return ledger.read_text().count('"begin"') if ledger.exists() else 0

    with ExitStack() as stack:
        try:
            url, _ = stack.enter_context(brokers.redis_server(short_path))
        except brokers.MissingServerError as error:
            pytest.skip(str(error))
        site = Site(tmp_path, IMAGES, broker_url=url, result_backend=url)
        with (tmp_path / "site/trap/source_extraction.py").open("a") as file:
            file.write(HELD)
        held = tmp_path / f"images/{SLOW}.fits.held"
        held.touch()
        answers = tmp_path / "database.sqlite.answers"
        stack.enter_context(site.worker())

        killed = stack.enter_context(site.run())
        wait(lambda: begun() == IMAGES and len([*answers.glob("*.json")]) == SLOW, killed)
        killed.send_signal(signal.SIGKILL)
        ended(killed, -signal.SIGKILL)
        kept = {file: file.stat().st_mtime_ns for file in answers.glob("*.json")}

        interrupted = stack.enter_context(site.run())
        wait(lambda: begun() == IMAGES + 1, interrupted)
        interrupted.send_signal(signal.SIGINT)
        said = ended(interrupted, 130)
        assert "Interrupted. The answers so far are kept; the same command goes on from there." in said
        assert not site.database.exists(), "it has its name when it is complete"

        held.unlink()
        ended(stack.enter_context(site.run()), 0)
    with closing(sqlite3.connect(site.database)) as database:
        assert database.execute("select state, images, failed from trapd_run").fetchall() == [("complete", IMAGES, 0)]
        found = database.execute("select im_id, count(*) from extracted_sources group by im_id").fetchall()
        attempts = database.execute("select attempts from trapd_provenance order by im_id").fetchall()
    assert found == [(number, number + 1) for number in range(IMAGES)]
    assert attempts == [(0,)] * SLOW + [(1,)]
    assert {file: file.stat().st_mtime_ns for file in kept} == kept, "nobody was asked for them again"
    assert begun() == IMAGES + 2
