"""Two databases are equal only if their storage types are, too."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from demo import databases


def make(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


BEFORE = ("create table config (db_name text, n)", "insert into config values ('a.db', 1)", "create table t (a, b)")


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return make(tmp_path / "one", *BEFORE, "insert into t values (1, null), (2.5, 'x')")


def test_equal_databases_have_no_differences_whatever_their_names(one: Path, tmp_path: Path) -> None:
    statements = [statement.replace("a.db", "b.db") for statement in BEFORE]
    other = make(
        tmp_path / "b", *statements, "insert into t values (1, null), (2.5, 'x')", "create table trapd_run (a)"
    )
    assert databases.differences(one, other) == []
    assert databases.differences(one, other, ignored=()) == [
        "config.db_name: 1 rows differ; row 0: ('a.db', 'text') and ('b.db', 'text')"
    ]
    assert databases.rows(other) == {"config": 1, "t": 2}


def test_the_order_of_columns_is_none_of_the_content(one: Path, tmp_path: Path) -> None:
    statements = [statement.replace("t (a, b)", "t (b, a)") for statement in BEFORE]
    other = make(tmp_path / "b", *statements, "insert into t (a, b) values (1, null), (2.5, 'x')")
    assert databases.differences(one, other) == []


@pytest.mark.parametrize(
    ("statements", "line"),
    [
        (
            ["insert into t values (1.0, null), (2.5, 'x')"],
            "t.a: 1 rows differ; row 0: (1, 'integer') and (1.0, 'real')",
        ),
        (
            ["insert into t values (1, null), (2.5, x'78')"],
            "t.b: 1 rows differ; row 1: ('x', 'text') and (b'x', 'blob')",
        ),
        (["insert into t values (2.5, 'x'), (1, null)"], "t.a: 2 rows differ"),
        (["insert into t values (1, null)"], "t: 2 rows and 1 rows"),
        (["drop table t"], "only one has table t"),
        (["drop table t", "create table t (a integer, b)"], "t: other columns or types"),
    ],
)
def test_each_difference_is_a_line(one: Path, tmp_path: Path, statements: list[str], line: str) -> None:
    found, *_ = databases.differences(one, make(tmp_path / "other", *BEFORE, *statements))
    assert found.startswith(line)
