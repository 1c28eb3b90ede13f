"""The database that Trap writes, and two tables of trapd in it: what the run was, and who answered for which image.

SQLite: Trap writes beside the name that the user gave, and the file gets that name when it is complete. PostgreSQL:
Trap writes into the database itself; until ``trapd_run`` says that the run is complete, the next attempt replaces it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trapd.distribute import disk
from trapd.distribute.endings import OccupiedError, RunError

RUNNING, COMPLETE = "running", "complete"
PART = ".part"

# Types that both databases know; SQLite takes them for TEXT, INTEGER and REAL.
RUN: dict[str, str] = {
    "state": "text",  # running, complete, partial (images failed), mixed (answers of several codes)
    "fingerprint": "text",  # of the options and the images: see `fingerprint`
    "options": "text",  # of Trap, as JSON
    "on_error": "text",
    "on_upgrade": "text",
    "began": "double precision",  # seconds since the epoch, as all times here
    "ended": "double precision",
    "images": "bigint",
    "failed": "bigint",
    "codes": "bigint",  # how many different codes answered: 1, if the answers are comparable
    "trap": "text",  # that ran the main line
    "trapd": "text",
    "host": "text",
    "account": "text",
}
PROVENANCE: dict[str, str] = {
    "im_id": "bigint",  # as in Trap's tables; null: an image that Trap did not get, see error
    "image": "text",
    "error": "text",
    "trap": "text",  # this and what follows: of the worker that extracted the sources, or could not
    "radio_pyse": "text",
    "numba": "text",
    "numpy": "text",
    "digest": "text",
    "generation": "bigint",
    "worker": "text",
    "host": "text",
    "started": "double precision",
    "finished": "double precision",
    "attempts": "bigint",  # how many times tasks for the image were sent in this run: 0 if all answers were kept
    "fit_worker": "text",  # that measured the image where Trap missed a source; null: it missed none
    "fit_trap": "text",
    "fit_digest": "text",
}
_TABLES = {"trapd_run": RUN, "trapd_provenance": PROVENANCE}
_NO_PART_OF_A_RUN = ("log_dir", "nr_threads", "max_concurrent_images", "scheduler", "pdb", "config_file", "version")


def fingerprint(params: Mapping[str, Any], images: Iterable[Path]) -> str:
    """Return what is the same for two runs of the same options on the same files."""
    options = {
        name: value
        for name, value in params.items()
        if not name.startswith("db_") and name not in (*_NO_PART_OF_A_RUN, "pyse_version", "input_images", "command")
    }
    states = sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in images)
    return hashlib.sha256(as_json([options, states]).encode()).hexdigest()


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


class _Database:
    """Where one run writes. ``kept``: the usual folder for its answers."""

    mark = "?"  # of a parameter in a statement
    kept: Path

    def __init__(self, params: dict[str, Any]) -> None:
        """``params``: of Trap's parser."""
        self.params = params
        self.name = str(params["db_name"])
        self.overwrite = bool(params.get("db_overwrite"))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs from it. Raises OccupiedError if one has it."""
        yield

    def found(self) -> dict[str, Any] | None:
        """Return the row of ``trapd_run`` of the database that is there, empty if trapd did not write it; None if there
        is no database. Raises RunError."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make room for Trap, which finds no database of this name then. Raises RunError."""
        raise NotImplementedError

    def finish(self) -> None:
        """The run is complete: give the database its name."""
        raise NotImplementedError

    def connect(self) -> contextlib.AbstractContextManager[Any]:
        """Return a connection of the Python database API to the database that Trap writes."""
        raise NotImplementedError

    # -- the tables ----------------------------------------------------------------------------------------------------

    def tables(self) -> set[str]:
        with self.connect() as connection:
            return set(self._tables(connection))

    def _tables(self, connection: Any) -> list[str]:
        raise NotImplementedError

    def drop(self, tables: Iterable[str]) -> None:
        with self.connect() as connection:
            for table in sorted(tables):
                _execute(connection, f'drop table "{table}"')

    def write(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace one of trapd's tables."""
        columns = _TABLES[table]
        marks = ", ".join([self.mark] * len(columns))
        with self.connect() as connection:
            _execute(connection, f"drop table if exists {table}")
            _execute(
                connection, f"create table {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
            )
            for row in rows:
                values = [row.get(name) for name in columns]
                _execute(connection, f"insert into {table} values ({marks})", values)

    def name_it(self, name: str) -> None:
        """Let Trap's table of its options have the name that the user gave."""
        with self.connect() as connection:
            _execute(connection, f"update config set db_name = {self.mark}", [name])

    def _run(self, connection: Any) -> dict[str, Any]:
        if "trapd_run" not in self._tables(connection):
            return {}
        cursor = connection.cursor()
        cursor.execute("select * from trapd_run")
        row = cursor.fetchone()
        return dict(zip([column[0] for column in cursor.description], row, strict=True)) if row else {}


class SQLite(_Database):
    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.file = Path(self.name)
        self.part = self.file.with_name(self.file.name + PART)
        self.kept = self.file.with_name(self.file.name + ".answers")
        params["db_name"] = str(self.part)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with disk.alone(self.part.with_name(self.part.name + ".lock")) as mine:
            if not mine:
                raise OccupiedError(f"cannot write {self.name}: another run writes it; wait for its end")
            yield

    def found(self) -> dict[str, Any] | None:
        if not self.file.exists():
            return None
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self.file.absolute().as_uri()}?mode=ro", uri=True)
            ) as connection:
                return self._run(connection)
        except sqlite3.Error:
            return {}

    def prepare(self) -> None:
        for file in (self.part, self.part.with_name(self.part.name + "-journal")):
            file.unlink(missing_ok=True)

    def finish(self) -> None:
        self.name_it(self.name)
        self.part.replace(self.file)

    @contextlib.contextmanager
    def connect(self) -> Iterator[Any]:
        with contextlib.closing(sqlite3.connect(self.part)) as connection, connection:
            yield connection

    def _tables(self, connection: Any) -> list[str]:
        return [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]


class PostgreSQL(_Database):
    mark = "%s"

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.kept = Path(f"{self.name}.answers")

    def found(self) -> dict[str, Any] | None:
        with self._server("postgres") as connection:
            cursor = connection.cursor()
            cursor.execute("select 1 from pg_database where datname = %s", [self.name.lower()])  # Trap does not quote
            if not cursor.fetchone():
                return None
        with self.connect() as connection:
            return self._run(connection)

    def prepare(self) -> None:
        import psycopg2

        if self.overwrite:  # Trap removes it
            return
        with self._server("postgres") as connection:
            try:
                connection.cursor().execute(f"drop database if exists {self.name}")
            except psycopg2.errors.ObjectInUse as error:
                words = " ".join(str(error).split())
                raise OccupiedError(f"cannot begin {self.name} again: {words}; another run may use it") from error

    def finish(self) -> None:
        pass

    @contextlib.contextmanager
    def connect(self) -> Iterator[Any]:
        with self._server(self.name.lower(), autocommit=False) as connection, connection:
            yield connection

    @contextlib.contextmanager
    def _server(self, name: str, *, autocommit: bool = True) -> Iterator[Any]:
        import psycopg2

        account = {"user": self.params["db_user"], "password": self.params["db_password"]}
        where = {"host": self.params["db_host"], "port": self.params["db_port"]}
        try:
            connection = psycopg2.connect(dbname=name, **account, **where)
        except psycopg2.OperationalError as error:
            raise RunError(f"cannot connect to PostgreSQL: {' '.join(str(error).split())}") from error
        connection.autocommit = autocommit
        with contextlib.closing(connection):
            yield connection

    def _tables(self, connection: Any) -> list[str]:
        cursor = connection.cursor()
        cursor.execute("select table_name from information_schema.tables where table_schema = 'public'")
        return [name for (name,) in cursor.fetchall()]


def database(params: dict[str, Any]) -> SQLite | PostgreSQL:
    """Return the database that these options of Trap name. Raises RunError."""
    if params.get("db_name") is None:
        raise RunError("cannot begin: no --db_name was given; name the database that is to be written")
    kind = params.get("db_backend") or "sqlite"
    if kind not in ("sqlite", "postgres"):
        raise RunError(f"cannot write a database of kind {kind!r}; --db_backend is sqlite or postgres")
    return SQLite(params) if kind == "sqlite" else PostgreSQL(params)


def _execute(connection: Any, statement: str, values: Sequence[Any] = ()) -> None:
    connection.cursor().execute(statement, list(values))
