"""A run over workers has the database of trap-run: every table, row, value and storage type, on the real Trap.

`make test` has two series with the newest Trap, `make test-long` five with each Trap that is known, or four where there
is no file of a real image: docs/repetitions.md says how many there were. What befalls the workers of trapd on the way:
the process that extracts is killed, and later the whole worker, each with a task in it.
"""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from demo import databases
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.repetitions import LONG
from tests.support.trap_lab import (
    EAGER,
    REAL,
    ROOT,
    Lab,
    Series,
    bands,
    ends,
    monitored,
    options,
    real,
    succeeds,
    transient,
    trap_lab,
    truncated,
    wait,
)
from trapd.distribute import endings
from trapd.distribute.run import KNOWN

TOGETHER_WITH = "tests/system/test_make_run.py"  # Trap's environment

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]


MORE = (monitored, options, *([real] if REAL.exists() else []))
START = 600.0  # s, on a machine that does much else


@dataclass(frozen=True)
class Compared:
    """Trap in one version, and series of which trap-run has made databases."""

    lab: Lab
    version: str
    series: list[Series]


@pytest.fixture(scope="module", params=KNOWN if LONG else KNOWN[-1:])
def compared(request: pytest.FixtureRequest) -> Iterator[Compared]:
    # RabbitMQ, because it gives the task of a worker that was killed to the next one at once
    with (
        tempfile.TemporaryDirectory(prefix="td") as folder,  # sockets lie in it: a short path
        trap_lab(request.param, Path(folder), request, "rabbitmq") as lab,
    ):
        series = [make(lab.place) for make in (transient, bands, *(MORE if LONG else ()))]
        (lab.plain_reference if LONG else lab.reference)(*series)
        yield Compared(lab, request.param, series)


def test_the_database_is_that_of_trap_run_whatever_happens_to_a_worker(
    compared: Compared, record_property: Callable[[str, object], None]
) -> None:
    record_property("times", len(compared.series))
    lab, version, (first, *others) = compared.lab, compared.version, compared.series
    with lab.daemon() as daemon:
        daemon.wait_until("a worker", settled_on(version, 1, "trap"), START)
        begun = suffers(lab, daemon, lab.trapctl_run(daemon, first))
        for one in others:
            succeeds(lab.trapctl_run(daemon, one))
        said = ends(lab.trapctl_run(daemon, cut := truncated(lab.place)), endings.PARTIAL)
    for one in (first, *others):
        lab.is_equal(one)
    assert begun == is_told(lab, first, version) + 1, "the broker gave the task of the worker to the next one"
    is_rejected(lab, cut, version, said)


def test_with_always_eager_one_process_without_a_broker_makes_the_database_of_trap_run(compared: Compared) -> None:
    """The first with the options that the page for astronomers has."""
    first, *others = compared.series
    page = (ROOT / "docs/series.md").read_text()
    [typed] = re.findall("^trapctl run -- (.*sqlite.*)$", page, re.MULTILINE)
    succeeds(compared.lab.run_eagerly(first, typed))
    compared.lab.is_equal(first, EAGER, ignored=(databases.NAME, "config.db_backend"))
    for one in others if LONG else ():
        succeeds(compared.lab.run_eagerly(one))
        compared.lab.is_equal(one, EAGER)


def suffers(lab: Lab, daemon: Daemon, run: subprocess.Popen[str]) -> int:
    """A child of its worker is killed, then the worker, which trapd replaces. Returns how many tasks began."""
    worker = main_process(daemon.status())
    wait(lambda: lab.begun() >= 3, run)
    lab.kill_child(worker, run)
    wait(lambda: lab.begun() >= 6, run)
    lab.kill_worker(worker, run)
    succeeds(run)
    assert main_process(daemon.status()) != worker
    return lab.begun()


def main_process(status: Status) -> psutil.Process:
    [one] = pool(status)["instances"]
    return psutil.Process(one["pid"])


def is_told(lab: Lab, series: Series, version: str) -> int:
    """Returns how many tasks were sent."""
    rows = lab.rows(series, "select attempts, fit_worker is not null, trap, host, generation from trapd_provenance")
    assert len(rows) == 12
    assert {row[2:] for row in rows} == {(version, socket.gethostname(), 1)}
    sent, needed = sum(row[0] for row in rows), sum(1 + bool(row[1]) for row in rows)
    assert sent == needed + 1, "one task was in the child that was killed"
    assert lab.rows(series, "select state, codes from trapd_run") == [("complete", 1)]
    return int(sent)


def is_rejected(lab: Lab, series: Series, version: str, said: str) -> None:
    """The second image is, and nothing of it is in the database."""
    good, bad = (lab.place / series.name / f"{number}.fits" for number in range(2))
    assert f"REJECTED {bad}: cannot extract sources from {bad}: " in said
    assert lab.rows(series, "select state, images, failed from trapd_run") == [("partial", 2, 1)]
    named = lab.rows(series, "select image, error is not null, trap from trapd_provenance order by im_id")
    assert named == [(str(good), 0, version), (str(bad), 1, version)]
    found = lab.rows(series, "select distinct im_id from extracted_sources")
    assert found == lab.rows(series, "select im_id from trapd_provenance where error is null")
