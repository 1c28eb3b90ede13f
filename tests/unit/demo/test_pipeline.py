"""What the demonstration says of the run of the series."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo import pipeline
from demo.images import Image

GOOD = pipeline.Outcome(0, 12, ("1.3.0",), (), 400)


def test_a_good_run_has_no_problems() -> None:
    assert pipeline.problems(GOOD, 12, "1.3.0") == []
    assert pipeline.lines(GOOD, 4.5) == [
        ("images of the series, by trapctl run", "12  (all on trap 1.3.0)"),
        ("its database and that of trap-run", "equal  (400 rows)"),
        ("the upgrade waited for its end", "4.50 s"),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": 23}, "trapctl run ended with status 23"),
        ({"versions": ("1.3.0", "1.4.0")}, "the run is to have trap 1.3.0 alone, and has 1.3.0, 1.4.0"),
        ({"versions": ("1.3.0", "1.3.0")}, "the run is to have trap 1.3.0 alone, and has 1.3.0, 1.3.0"),
        ({"images": 11}, "the database of the run has 11 of 12 images"),
        ({"differences": ("a row",)}, "the database differs from that of trap-run: a row"),
    ],
)
def test_each_way_to_be_wrong_shows(changes: dict[str, Any], words: str) -> None:
    assert pipeline.problems(replace(GOOD, **changes), 12, "1.3.0") == [words]


def test_a_run_without_an_end_is_a_problem() -> None:
    assert pipeline.problems(None, 12, "1.3.0") == ["the run of the series did not come to its end"]


def test_the_outcome_is_read_from_the_databases(tmp_path: Path) -> None:
    processes = SimpleNamespace(last_words=lambda name, lines: "its last words")
    world: Any = SimpleNamespace(work=tmp_path, processes=processes)
    one = pipeline.Pipeline(world, [Image("/i/1.fits")])
    assert one.outcome(1).differences == ("there is no database: its last words",)
    _database(tmp_path / "series.sqlite", 1.0)
    assert one.outcome(0).differences == ("trap-run wrote none: its last words",)
    _database(tmp_path / "trap-run.sqlite", 2.0)
    one.reference_ended(134)  # it left half a database
    assert one.outcome(0).differences == ("trap-run wrote none: its last words",)
    _database(tmp_path / "trap-run.sqlite", 2.0)
    one.reference_ended(0)
    outcome = one.outcome(0)
    assert (outcome.images, outcome.versions, outcome.rows) == (2, ("1.3.0", "1.3.0"), 1), "two codes of one version"
    assert outcome.differences == ("extracted_source.flux: 1 rows differ; row 0: (2.0, 'real') and (1.0, 'real')",)


def _database(file: Path, flux: float) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("create table extracted_source (flux real)")
        connection.execute("insert into extracted_source values (?)", (flux,))
        connection.execute("create table trapd_provenance (trap text, digest text, error text)")
        rows = [("1.3.0", "a", None), ("1.3.0", "b", None), ("1.4.0", "c", "rejected")]
        connection.executemany("insert into trapd_provenance values (?, ?, ?)", rows)
    connection.close()
