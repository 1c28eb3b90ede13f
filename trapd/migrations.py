"""Migrate the history's tables: a step from each schema to the next; the first step begins with an empty database.

A new history takes all steps, an old history those that it lacks. So a step does not change once it is released, and
uses no code that may change: each step has the words of its time.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable

Run = Callable[..., sqlite3.Cursor]


def migrate(run: Run, version: int) -> None:
    """Bring a history of this schema, 0 if it is empty, to ``SCHEMA``. Call this in one transaction.

    Raises ValueError, KeyError or TypeError for a record that no trapd of that schema wrote.
    """
    for step in _STEPS[version:]:
        step(run)
    run(f"PRAGMA user_version = {SCHEMA}")


def _make_tables(run: Run) -> None:
    for statement in _TABLES:
        run(statement)


_TABLES = (
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "INSERT INTO counters VALUES ('generation', 0), ('rollout', 0)",
    "CREATE TABLE generations (number INTEGER PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE rollouts (id INTEGER PRIMARY KEY, pool TEXT NOT NULL, value TEXT NOT NULL)",
    "CREATE INDEX rollouts_of_pool ON rollouts (pool, id)",
    # A pool's latest rollout is kept once, with the other rollouts: a second copy could differ from it.
    "CREATE TABLE pools (name TEXT PRIMARY KEY, rollout INTEGER, value TEXT NOT NULL)",
    "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " pool TEXT, rollout INTEGER, generation INTEGER, value TEXT NOT NULL)",
    "CREATE INDEX events_of_pool ON events (pool, id)",
    "CREATE INDEX events_of_rollout ON events (rollout, id)",
)


def _make_events_data(run: Run) -> None:
    """Replace the free word of an event by its kind, and give the worker a column, because queries ask for workers."""
    run("ALTER TABLE events ADD COLUMN kind TEXT NOT NULL DEFAULT ''")
    run("ALTER TABLE events ADD COLUMN instance TEXT")
    for id, value in run("SELECT id, value FROM events").fetchall():
        old = json.loads(value)
        if old["what"] not in _WORDS_OF_1:
            raise ValueError(f"event {id} is {old['what']!r}")
        kind = _RENAMED.get(old["what"], old["what"])
        new = {"wall": old["wall"], "reason": old["why"], "actor": old["actor"], "detail": old["detail"]}
        row = (kind, old["instance"], json.dumps(new | {"duration": None}), id)
        run("UPDATE events SET kind = ?, instance = ?, value = ? WHERE id = ?", row)
    run("CREATE INDEX events_of_instance ON events (instance, id)")


_WORDS_OF_1 = frozenset((
    *("wanted", "pending", "preflight", "canary", "retrial", "rolling", "promoted", "rejected", "failed", "finished"),
    *("doubted", "superseded", "paused", "resumed", "scaled", "retried"),
    *("started", "draining", "killed", "forgot", "gone", "error"),
))  # fmt: skip
_RENAMED = {"failed": "given-up"}  # "failed" was for rollouts alone, and is for workers now


def _make_refusals_values(run: Run) -> None:
    """Give refusals a scope. A refusal was a key: FINGERPRINT, FINGERPRINT+APPLICATION or FINGERPRINT+DIGEST.

    Applications were written with a blank after their name, so that none looks like a digest of settings.
    """
    for name, value in run("SELECT name, value FROM pools").fetchall():
        pool = json.loads(value)
        refused = [_refusal(key, why) for key, why in pool["refused"].items()]
        run("UPDATE pools SET value = ? WHERE name = ?", (json.dumps(pool | {"refused": refused}), name))


def _refusal(key: str, why: str) -> dict[str, str]:
    fingerprint, narrower, subject = key.partition("+")
    scope = "code" if not narrower else "settings" if _DIGEST.fullmatch(subject) else "application"
    return {"scope": scope, "fingerprint": fingerprint, "subject": subject, "why": why}


_DIGEST = re.compile(r"[0-9a-f]{16}")


def _give_generations_tables(run: Run) -> None:
    """Give generations an empty table of distributions; trapd fills it when it sees the same code on the disk. Before,
    a generation had one digest of all installed code."""
    for number, value in run("SELECT number, value FROM generations").fetchall():
        table = {"distributions": {}, "required": [], "loaded": {}, "heard": False}
        run("UPDATE generations SET value = ? WHERE number = ?", (json.dumps(json.loads(value) | table), number))


def _make_notes(run: Run) -> None:
    """What a part of trapd has to remember beside the events: since when a problem is there, who was notified last."""
    run("CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)")


_STEPS: tuple[Callable[[Run], None], ...] = (
    _make_tables,
    _make_events_data,
    _make_refusals_values,
    _give_generations_tables,
    _make_notes,
)
SCHEMA = len(_STEPS)
