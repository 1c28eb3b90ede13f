"""A run over workers has the database of trap-run: every table, row, value and storage type, on the real Trap.

`make test` has two series with the newest Trap, `make test-long` five with each Trap that is known.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.repetitions import LONG
from tests.support.trap_lab import (
    REAL,
    bands,
    kill_child,
    monitored,
    options,
    real,
    succeeds,
    transient,
    trap_lab,
    wait,
)
from trapd.distribute.run import KNOWN

TOGETHER_WITH = "tests/system/test_make_run.py"  # Trap's environment

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]


MORE = (monitored, options, *([real] if REAL.exists() else []))


@pytest.mark.parametrize("version", KNOWN if LONG else KNOWN[-1:])
def test_the_database_is_that_of_trap_run_whatever_happens_to_a_worker(
    version: str, short_path: Path, request: pytest.FixtureRequest
) -> None:
    with trap_lab(version, short_path, request) as lab:
        makers = [transient, bands, *(MORE if LONG else ())]
        first, *others = [make(short_path) for make in makers]
        (lab.plain_reference if LONG else lab.reference)(first, *others)
        with lab.worker() as worker:
            run = lab.run(first)
            wait(lambda: lab.begun() >= 3, run)
            kill_child(worker)
            succeeds(run)
            for one in others:
                succeeds(lab.run(one))
    for one in (first, *others):
        lab.is_equal(one)
    rows = lab.rows(first, "select attempts, fit_worker is not null, trap, worker from trapd_provenance")
    assert len(rows) == 12
    assert {row[2:] for row in rows} == {(version, "default-7-1@host")}
    sent, needed = sum(row[0] for row in rows), sum(1 + bool(row[1]) for row in rows)
    assert sent == needed + 1, "one task was in the process that was killed"
    assert lab.rows(first, "select state, codes from trapd_run") == [("complete", 1)]
