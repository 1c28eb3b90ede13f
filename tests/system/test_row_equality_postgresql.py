"""A run into PostgreSQL, killed in its middle. Only `make test-long` runs this test: see tests/system/conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import databases
from tests.support import postgresql
from tests.support.trap_lab import succeeds, transient, trap_lab, wait

TOGETHER_WITH = "tests/system/test_make_run.py"  # Trap's environment

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]

TABLES = {"config", "images", "extracted_sources", "variability", "_variability_running_averages"}
COLUMNS = """
    select table_name, column_name, data_type from information_schema.columns
    where table_schema = 'public' and table_name not like 'trapd%'
    order by table_name, column_name
"""


def test_a_run_into_postgresql_goes_on_after_it_was_killed(short_path: Path, request: pytest.FixtureRequest) -> None:
    short_path.chmod(0o755)
    with postgresql.server(short_path / "pg") as port, trap_lab("1.4.0", short_path, request) as lab:
        account = f"--db_user {postgresql.USER} --db_password {postgresql.PASSWORD}"
        where = f"--db_backend postgres {account} --db_host 127.0.0.1 --db_port {port}"
        series = transient(short_path)
        lab.reference(series, database=f"reference {where}")
        with lab.worker():
            run = lab.run(series, database=f"mine {where}")
            wait(lambda: "mine" in postgresql.query(port, "postgres", "select datname from pg_database"), run)
            wait(lambda: lab.begun() >= 6, run)
            run.kill()
            run.communicate()
            assert postgresql.query(port, "mine", "select state from trapd_run") == "running\n"
            succeeds(lab.run(series, database=f"mine {where}"))
            again = lab.run(series, database=f"mine {where}")
            assert "has this run already" in again.communicate(timeout=600)[1]
        assert postgresql.query(port, "mine", "select state from trapd_run") == "complete\n"
        assert int(postgresql.query(port, "mine", "select count(*) from trapd_provenance where attempts = 0")) >= 3
        for statement in (COLUMNS, *statements(postgresql.query(port, "reference", COLUMNS))):
            its, mine = (sorted(postgresql.query(port, name, statement).splitlines()) for name in ("reference", "mine"))
            assert mine == its
            assert mine


def statements(columns: str) -> list[str]:
    """A query for each of these tables: all of its columns, but for the name of the database itself."""
    tables: dict[str, list[str]] = {}
    for line in columns.splitlines():
        table, column, _ = line.split("|")
        if f"{table}.{column}" != databases.NAME:
            tables.setdefault(table, []).append(f'"{column}"')
    assert tables.keys() >= TABLES
    return [f'select {", ".join(names)} from "{table}"' for table, names in tables.items()]
