"""Compare two SQLite databases of Trap: tables, columns, rows, values and the types in which SQLite stores them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = "trapd_"  # the begin of the names of tables that trap-run does not write
NAME = "config.db_name"  # the name of the database itself
SHOWN = 3  # rows of a column


@dataclass(frozen=True, slots=True)
class Table:
    columns: list[tuple[str, str]]  # name and declared type, in the order of the names
    rows: list[
        tuple[Any, ...]
    ]  # for each column the value and its storage type, in the order in which they were written


def read(database: Path) -> dict[str, Table]:
    """Return every table of Trap's. Raises sqlite3.Error.

    The order of columns is none of its content: where the options ask for deblending or a fixed beam, Trap takes it
    from a Python set, so that two runs of trap-run differ in it.
    """
    tables = {}
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            if name.startswith(OURS):
                continue
            columns = sorted((row[1], row[2]) for row in connection.execute(f'pragma table_info("{name}")'))
            wanted = ", ".join(f'"{column}", typeof("{column}")' for column, _ in columns)
            rows = connection.execute(f'select {wanted} from "{name}" order by rowid').fetchall()
            tables[name] = Table(columns, rows)
    return tables


def differences(first: Path, second: Path, *, ignored: Collection[str] = (NAME,)) -> list[str]:
    """Return a line for each difference: none if the databases are equal. ``ignored``: as "table.column"."""
    one, other = read(first), read(second)
    lines = [f"only one has table {name}" for name in sorted(one.keys() ^ other.keys())]
    for name in sorted(one.keys() & other.keys()):
        lines += _in_table(name, one[name], other[name], ignored)
    return lines


def rows(database: Path) -> dict[str, int]:
    """Return the number of rows of each table of Trap's."""
    return {name: len(table.rows) for name, table in read(database).items()}


def _in_table(name: str, one: Table, other: Table, ignored: Collection[str]) -> list[str]:
    if one.columns != other.columns:
        return [f"{name}: other columns or types: {sorted(set(one.columns) ^ set(other.columns))}"]
    if len(one.rows) != len(other.rows):
        return [f"{name}: {len(one.rows)} rows and {len(other.rows)} rows"]
    lines = []
    for number, (column, _) in enumerate(one.columns):
        if f"{name}.{column}" in ignored:
            continue
        place = slice(2 * number, 2 * number + 2)
        pairs = [(mine[place], its[place]) for mine, its in zip(one.rows, other.rows, strict=True)]
        different = [f"row {row}: {mine} and {its}" for row, (mine, its) in enumerate(pairs) if mine != its]
        if different:
            lines.append(f"{name}.{column}: {len(different)} rows differ; {'; '.join(different[:SHOWN])}")
    return lines
