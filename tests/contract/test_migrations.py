"""A history of an earlier trapd is read by this one, whole. history_schema_1.sql was written by trapd with schema 1."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from trapd import migrations
from trapd.errors import HistoryError
from trapd.event import Event, EventKind
from trapd.history import SqliteHistory
from trapd.migrations import SCHEMA
from trapd.model import RolloutState, Scope
from trapd.rollout.refusals import Candidate, refusal

DUMP = Path(__file__).with_name("history_schema_1.sql").read_text()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A history as the trapd before left it."""
    file = tmp_path / "history.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(DUMP)
    return file


@pytest.fixture
def history(old: Path) -> Iterator[SqliteHistory]:
    with closing(SqliteHistory(old)) as opened:
        yield opened


def rows(file: Path, query: str) -> list[tuple[str | int, ...]]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchall()


def test_every_event_of_schema_1_is_kept_with_its_number_and_its_words(old: Path) -> None:
    before = [(id, json.loads(value)) for id, value in rows(old, "SELECT id, value FROM events")]  # type: ignore[arg-type]
    with closing(SqliteHistory(old)) as history:
        after = history.events(limit=1000)
    assert len(after) == len(before) > 100
    for (id, record), now in zip(before, after, strict=True):
        kind = "given-up" if record["what"] == "failed" else record["what"]
        assert (now.id, now.wall, now.kind, now.reason) == (id, record["wall"], kind, record["why"])
        for name in ("actor", "pool", "rollout", "generation", "instance", "detail"):
            assert getattr(now, name) == record[name]
        assert now.duration is None


def test_the_history_that_is_read_has_every_word_of_schema_1(history: SqliteHistory) -> None:
    kinds = Counter(one.kind for one in history.events(limit=1000))
    new = {"trapd-started", "trapd-stopped", "ready", "failed", "crashed", "hung", "oom-killed", "lost", "no-effect"}
    new |= {"problem", "problem-over", "notify-test", "trapd-lost", "rebooted"}
    new |= {"trouble", "relief", "tentative", "task-ended", "relieved", "waiting", "opened", "tasks-changed"}
    new |= {"interrupted", "set-aside", "suspected", "verified", "cleared"}
    new |= {"drained", "undrained", "recycled", "remote-control"}
    new |= {"pinned", "unpinned"}
    new |= {"poisoned", "released", "child-lost", "child-oom-killed"}
    assert set(kinds) == {kind for kind in EventKind if kind not in new}


def test_a_history_of_schema_4_is_read_and_can_keep_notes(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    with closing(sqlite3.connect(file)) as database:
        for step in migrations._STEPS[:4]:
            step(database.execute)
        value = json.dumps({"wall": 1.0, "reason": "of then", "actor": "trapd", "detail": "", "duration": None})
        database.execute("INSERT INTO events (kind, value) VALUES ('ready', ?)", (value,))
        database.execute("PRAGMA user_version = 4")
        database.commit()
    with closing(SqliteHistory(file)) as history:
        assert [one.reason for one in history.events()] == ["of then"]
        assert history.note("problems") == ""
        history.save(notes={"problems": "{}"})
        assert history.note("problems") == "{}"


def test_pools_rollouts_and_numbers_go_on_where_they_were(history: SqliteHistory) -> None:
    pools = history.pools()
    assert (pools["default"].wanted, pools["default"].good, pools["default"].workers) == (10, (1, 4, 9, 10), 1)
    assert pools["gpu"].rollout is not None
    assert pools["gpu"].rollout.generation == pools["gpu"].wanted == 14
    assert {one.state for one in history.rollouts(limit=100)} >= {RolloutState.REJECTED, RolloutState.FAILED}
    assert set(history.generations()) >= {10, 14}
    last = history.events()[-1].id
    assert history.save(events=[Event(1.0, EventKind.READY, "after")])[0].id == last + 1
    assert (history.next_generation(), history.next_rollout()) == (15, 15)


def test_what_was_refused_stays_refused(history: SqliteHistory) -> None:
    refused = history.pools()["default"].refused
    assert [(one.scope, one.fingerprint, one.subject) for one in refused] == [
        (Scope.APPLICATION, "two", ""),
        (Scope.APPLICATION, "four", ""),
        (Scope.CODE, "six", ""),
    ]
    assert refused[-1].why == "undone by somebody"


def test_generations_have_no_table_until_they_are_met_on_the_disk(history: SqliteHistory) -> None:
    for one in history.generations().values():
        assert (one.distributions, one.required, one.loaded, one.heard) == ({}, (), {}, False)


A, B, C = "a" * 64, "b" * 64, "c" * 64
APP, SETTINGS, TYPO = "trap.app:app ", "7c260c14a8f959d4", "9908cfb46bc2553d"
# As a trapd with schema 1 wrote it: B was undone, C failed as this application, A failed under other settings.
OLD_POOL = (
    f'{{"pool": "gpu", "wanted": 1, "good": [1], "refused": {{"{B}": "undone by alice",'
    f' "{C}+{APP}": "gpu@3-1 failed to start (ImportError), and generation 1 starts",'
    f' "{A}+{TYPO}": "gpu@4-1 failed to start (KeyError), and generation 1 starts"}},'
    ' "undone": 2, "paused": false, "workers": null}'
)


@pytest.mark.parametrize(
    ("tried", "scope"),
    [
        (Candidate(B, APP, SETTINGS), Scope.CODE),
        (Candidate(B, "trap.other:app ", "0" * 16), Scope.CODE),
        (Candidate(C, APP, TYPO), Scope.APPLICATION),
        (Candidate(C, "trap.other:app ", "0" * 16), None),
        (Candidate(A, APP, TYPO), Scope.SETTINGS),
        (Candidate(A, APP, SETTINGS), None),
    ],
)
def test_what_an_earlier_trapd_refused_is_refused_still(old: Path, tried: Candidate, scope: Scope | None) -> None:
    with closing(sqlite3.connect(old)) as database, database:
        database.execute("UPDATE pools SET value = ? WHERE name = 'gpu'", (OLD_POOL,))
    with closing(SqliteHistory(old)) as history:
        found = refusal(history.pools()["gpu"], tried)
    assert (found.scope if found else None) is scope


def test_a_new_history_has_the_tables_of_a_migrated_one(old: Path, tmp_path: Path) -> None:
    SqliteHistory(old).close()
    SqliteHistory(tmp_path / "new.sqlite").close()
    schema = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    assert rows(old, schema) == rows(tmp_path / "new.sqlite", schema)
    assert rows(old, "PRAGMA user_version") == [(SCHEMA,)]


@pytest.mark.parametrize("value", ['{"what": "danced"}', '{"what": "gone"}', "[]"])
def test_a_migration_that_fails_changes_nothing_and_says_where(old: Path, value: str) -> None:
    with closing(sqlite3.connect(old)) as database, database:
        database.execute("UPDATE events SET value = ? WHERE id = 100", (value,))
    before = sorted(map(str, rows(old, "SELECT * FROM events"))), rows(old, "SELECT sql FROM sqlite_master")
    with pytest.raises(HistoryError, match=r"cannot migrate the history .*: a record cannot be understood .*; move it"):
        SqliteHistory(old)
    assert before == (sorted(map(str, rows(old, "SELECT * FROM events"))), rows(old, "SELECT sql FROM sqlite_master"))
    assert rows(old, "PRAGMA user_version") == [(1,)]
