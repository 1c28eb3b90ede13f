"""The history in SQLite: what is wanted, what happened and why, kept over any crash.

Every call is one transaction. The write-ahead log with ``synchronous=FULL`` is flushed to disk before a call returns,
so what was saved survives SIGKILL and a power cut alike. Values are JSON, so that people can read them with the
``sqlite3`` command; never pickles, which would tie the file to the code that wrote it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from trapd.content import Content
from trapd.contracts import History
from trapd.errors import HistoryError
from trapd.event import Became, Event, EventKind, TaskEnd
from trapd.migrations import SCHEMA, migrate
from trapd.model import (
    Apart,
    Generation,
    Pin,
    PoolState,
    Refusal,
    Retrial,
    Rollout,
    RolloutState,
    Scope,
    TaskChanges,
    WorkerOrder,
)
from trapd.put_off import PutOff

KEPT_EVENTS = 100_000  # some 40 MB; a crash loop at its slowest pace writes 300 events a day
# A foreign lock (a backup, `sqlite3 history.sqlite`) is not waited for as long as SQLite's 5 s, in which trapd's
# loop stands still: `trapctl status` took 3 to 10 s. What could not be written is tried again at the next pass.
_PATIENCE = 100  # ms
_LOG_PAGES = 64  # of 4 KiB, after which the write-ahead log is put into the file; the default of 1,000 is 4 MiB
_CACHE = 256  # KiB of pages that are kept in memory; by default it grows to 2 MiB, one row of an event at a time
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_COLUMNS = ("id", "kind", "pool", "rollout", "generation", "instance")  # of an event; the rest is its value
_ALL = ", ".join((*_COLUMNS, "value"))
_INSERT = f"INSERT INTO events ({_ALL}) VALUES (NULL, ?, ?, ?, ?, ?, ?) RETURNING id"
_FAILURES = ", ".join(f"'{kind}'" for kind in EventKind if kind.failure)
_REPORTED = ", ".join(f"'{kind}'" for kind in EventKind if kind.reported)
_OVER = ", ".join(f"'{kind}'" for kind in EventKind if kind.over)
_UNFINISHED = f"""
    WITH told AS (
        SELECT id, instance, kind, lead(kind, 1, '') OVER (PARTITION BY instance ORDER BY id) AS next FROM events
        WHERE instance IS NOT NULL AND kind NOT IN ({_REPORTED})
    ), latest AS (
        SELECT max(id) AS id FROM told WHERE '{EventKind.ERROR}' NOT IN (kind, next) GROUP BY instance
    ), there AS (
        SELECT {_ALL} FROM events NATURAL JOIN latest WHERE kind NOT IN ({_OVER})
    ), failed AS (
        SELECT max(id) AS id FROM events
        WHERE instance IN (SELECT instance FROM there) AND kind IN ({_FAILURES}) GROUP BY instance
    ), commanded AS (
        SELECT max(id) AS id FROM events
        WHERE instance IN (SELECT instance FROM there) AND kind IN ({_REPORTED}) GROUP BY instance, kind
    )
    SELECT {_ALL} FROM there UNION SELECT {_ALL} FROM events NATURAL JOIN failed
    UNION SELECT {_ALL} FROM events NATURAL JOIN commanded ORDER BY id
"""

_COUNT_FAILURES = f"""
    SELECT count(*), max(id) FROM events WHERE instance = ? AND kind IN ({_FAILURES}) AND id > (
        SELECT coalesce(max(id), 0) FROM events WHERE instance = ? AND kind IN ({_OVER})
    )
"""

_NO_NOTES: Mapping[str, str] = {}
_T = TypeVar("_T")


class SqliteHistory(History):
    """The one writer of ``path``, which is made (with its folder) if it is not there. For one thread.

    Raises HistoryError if the file cannot be used, with what to do; nothing is mended or moved behind anybody's back.
    ``keep_events``: the oldest beyond these are forgotten.
    """

    def __init__(self, path: Path, keep_events: int = KEPT_EVENTS) -> None:
        self._path, self._keep_events, self._inode = path, keep_events, 0
        self._put_off = PutOff()
        with self._explained("open"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)  # None: BEGIN is ours to say
        try:
            with self._explained("open"):
                self._prepare()
            self._inode = path.stat().st_ino
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Closing twice is closing once."""
        self._database.close()

    def next_generation(self) -> int:
        return self._next("generation")

    def last_generation(self) -> int:
        return int(self._rows("SELECT value FROM counters WHERE name = 'generation'")[0][0])

    def next_rollout(self) -> int:
        return self._next("rollout")

    def generations(self) -> Mapping[int, Generation]:
        rows = self._rows("SELECT number, value FROM generations ORDER BY number")
        return {number: self._decoded(_generation, value) for number, value in rows}

    def pools(self) -> Mapping[str, PoolState]:
        rows = self._rows(
            "SELECT name, pools.value, rollouts.value FROM pools LEFT JOIN rollouts ON rollouts.id = pools.rollout"
            " ORDER BY name"
        )
        return {name: self._decoded(_pool, value, rollout) for name, value, rollout in rows}

    def rollouts(self, pool: str | None = None, limit: int = 20) -> Sequence[Rollout]:
        rows = self._latest("rollouts", "value", {"pool": pool}, limit)
        return [self._decoded(_rollout, value) for (value,) in rows]

    def rollout(self, id: int) -> Rollout | None:
        rows = self._rows("SELECT value FROM rollouts WHERE id = ?", id)
        return self._decoded(_rollout, rows[0][0]) if rows else None

    def events(
        self,
        *,
        pool: str | None = None,
        rollout: int | None = None,
        generation: int | None = None,
        instance: str | None = None,
        kind: EventKind | None = None,
        since: int | None = None,
        limit: int = 100,
    ) -> Sequence[Event]:
        wanted = {"pool": pool, "rollout": rollout, "generation": generation, "instance": instance, "kind": kind}
        rows = self._latest("events", _ALL, wanted, limit, after=since)
        found = [self._event(row) for row in (rows if since is not None else reversed(rows))]
        return self._put_off.after(found, wanted, since, max(limit, 0))

    def note(self, name: str) -> str:
        rows = self._rows("SELECT value FROM notes WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def unfinished(self) -> Sequence[Event]:
        rows = self._rows(_UNFINISHED)
        return [self._event(row) for row in rows]

    def failures(self, instance: str) -> tuple[int, Event | None]:
        ((count, last),) = self._rows(_COUNT_FAILURES, instance, instance)
        rows = self._rows(f"SELECT {_ALL} FROM events WHERE id = ?", last) if count else []
        return count, self._event(rows[0]) if rows else None

    def save(
        self,
        *,
        pools: Iterable[PoolState] = (),
        generations: Iterable[Generation] = (),
        events: Iterable[Event] = (),
        notes: Mapping[str, str] = _NO_NOTES,
    ) -> Sequence[Event]:
        saved = []
        events = [*(before := self._put_off.waiting), *events]
        with self._transaction("write") as run:
            for generation in generations:
                run("INSERT OR REPLACE INTO generations VALUES (?, ?)", (generation.number, _json(generation)))
            for state in pools:
                rollout = state.rollout
                if rollout:
                    run("INSERT OR REPLACE INTO rollouts VALUES (?, ?, ?)", (rollout.id, rollout.pool, _json(rollout)))
                row = (state.pool, rollout.id if rollout else None, _json(state, without=("rollout",)))
                run("INSERT OR REPLACE INTO pools VALUES (?, ?, ?)", row)
            for event in events:
                given = (event.kind, event.pool, event.rollout, event.generation, event.instance)
                (id,) = run(_INSERT, (*given, _json(event, without=_COLUMNS))).fetchone()
                saved.append(replace(event, id=id))
            for note in notes.items():
                run("INSERT OR REPLACE INTO notes VALUES (?, ?)", note)
            run("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (self._keep_events,))
        self._put_off.waiting = []
        return saved[len(before) :]

    def put_off(self, events: Iterable[Event]) -> None:
        ((last,),) = self._rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")
        self._put_off.add(events, last)

    def drop_generations(self, numbers: Iterable[int]) -> None:
        with self._transaction("write") as run:
            for number in numbers:
                run("DELETE FROM generations WHERE number = ?", (number,))

    # --- one call, one transaction ----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        run = self._database.execute
        (version,) = run("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise HistoryError(
                f"cannot use the history {self._path}: it has schema {version}, written by a newer trapd, and this one"
                f" knows {SCHEMA}; install that trapd again, or move the file away and start with an empty history"
            )
        if version == 0 and run("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise self._damaged("open", "it is a database of something else")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        run(f"PRAGMA cache_size = -{_CACHE}")
        (verdict,) = run("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self._damaged("open", " ".join(verdict.split()))  # SQLite says it in two lines
        if version < SCHEMA:
            self._migrate(version)
        run(f"PRAGMA busy_timeout = {_PATIENCE}")

    def _migrate(self, version: int) -> None:
        """All of it or nothing: then the trapd that wrote the history can read it still."""
        with self._transaction("migrate" if version else "make") as run:
            try:
                migrate(run, version)
            except (TypeError, KeyError, ValueError) as error:
                raise self._damaged("migrate", f"a record cannot be understood ({error})") from error

    def _next(self, name: str) -> int:
        with self._transaction("write") as run:
            (row,) = run("UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value", (name,)).fetchall()
        return int(row[0])

    def _latest(
        self, table: str, columns: str, wanted: Mapping[str, object], limit: int, *, after: int | None = None
    ) -> list[Any]:
        """These columns of the latest ``limit`` rows that have every wanted value that is not None, newest first; with
        ``after`` of the first rows after this id, oldest first."""
        given = {f"{column} = ?": value for column, value in wanted.items() if value is not None}
        given |= {"id > ?": after} if after is not None else {}
        where = " AND ".join(given) or "1"
        # max: to SQLite a negative limit means no limit
        return self._rows(
            f"SELECT {columns} FROM {table} WHERE {where} ORDER BY id {'DESC' if after is None else 'ASC'} LIMIT ?",
            *given.values(),
            max(limit, 0),
        )

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._explained("read"):
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self, verb: str) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._explained(verb):
            self._still_there(verb)
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database.execute
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite may have rolled back already: disk full, I/O error
                    self._database.execute("ROLLBACK")
                raise

    def _still_there(self, verb: str) -> None:
        """What is written into a file that somebody removed is gone when we end, and SQLite does not notice."""
        try:
            there = self._inode == 0 or self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            there = False
        if not there:
            raise HistoryError(
                f"cannot {verb} the history {self._path}: somebody removed or replaced it while trapd runs; restart"
                " trapd, which goes on with what is there then"
            )

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN:  # the low byte: without extended codes
                raise self._damaged(verb, str(error)) from error
            raise HistoryError(
                f"cannot {verb} the history {self._path}: {error}; see to the room and the rights on that disk"
            ) from error

    def _event(self, row: Sequence[Any]) -> Event:
        *columns, value = row
        return self._decoded(lambda record: _event(record, dict(zip(_COLUMNS, columns, strict=True))), value)

    def _decoded(self, decode: Callable[..., _T], *values: str | None) -> _T:
        try:
            return decode(*(None if value is None else json.loads(value) for value in values))
        except (TypeError, KeyError, ValueError) as error:
            raise self._damaged("read", f"a record cannot be understood ({error})") from error

    def _damaged(self, verb: str, why: str) -> HistoryError:
        return HistoryError(
            f"cannot {verb} the history {self._path}: {why}; move it away, with the -wal and -shm files beside it, and"
            " start trapd again: the history then begins anew, and the workers, which work on, are replaced once"
        )


# --- values as JSON: flat records, field by field -------------------------------------------------------------------


def _json(value: Generation | Rollout | PoolState | Event, without: Sequence[str] = ()) -> str:
    # ASCII only: SQLite refuses half surrogates, and the last words of a crashed worker may hold some
    record = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in without}
    return json.dumps(record, default=_record)


def _record(value: Any) -> dict[str, Any]:
    values = TaskEnd | Refusal | Content | Pin | TaskChanges | Retrial | WorkerOrder | Apart
    return asdict(value) if isinstance(value, values) else dict(value)  # mappings that are not dict


def _generation(record: dict[str, Any]) -> Generation:
    tables: dict[str, Any] = {name: _table(record[name]) for name in ("distributions", "loaded")}
    satisfied = record.get("satisfied")  # a generation of an earlier trapd has none
    tables["satisfied"] = None if satisfied is None else tuple(satisfied)
    tables["altered"] = tuple(record.get("altered", ()))
    return Generation(**record | tables | {"required": tuple(record["required"])})


def _table(record: dict[str, Any]) -> dict[str, Content]:
    return {name: Content(**content) for name, content in record.items()}


def _rollout(record: dict[str, Any]) -> Rollout:
    # a rollout of an earlier trapd has neither gates nor tasks nor retrials
    before, tasks = record.get("before"), record.get("tasks")
    values = {
        "state": RolloutState(record["state"]),
        "opened": tuple(record.get("opened", ())),
        "tasks": tasks and TaskChanges(**{key: tuple(names) for key, names in tasks.items()}),
        "before": None if before is None else {name: (ended, failed) for name, (ended, failed) in before.items()},
        "retrials": tuple(Retrial(**retrial) for retrial in record.get("retrials", ())),
    }
    return Rollout(**record | values)


def _pool(record: dict[str, Any], rollout: dict[str, Any] | None) -> PoolState:
    latest = None if rollout is None else _rollout(rollout)
    refused = tuple(Refusal(**one | {"scope": Scope(one["scope"])}) for one in record["refused"])
    # a pool of an earlier trapd has no orders
    of = {name: tuple(WorkerOrder(**one) for one in record.get(name, ())) for name in ("drained", "recycled")}
    pins = tuple(Pin(**pin) for pin in record.get("pins", ()))
    apart = Apart(**record["apart"]) if record.get("apart") else None
    return PoolState(
        **record
        | of
        | {"good": tuple(record["good"]), "refused": refused, "rollout": latest, "pins": pins, "apart": apart}
    )


def _event(record: dict[str, Any], columns: dict[str, Any]) -> Event:
    # an event of an earlier trapd has no tasks
    tasks = tuple(TaskEnd(**task | {"became": Became(task["became"])}) for task in record.get("tasks", ()))
    return Event(**record | columns | {"kind": EventKind(columns["kind"]), "tasks": tasks})
