"""``worker_state_db`` (``celery worker --statedb``): a file for each worker, begun with that of its predecessor.

Celery opens the file when a worker starts and writes it when that ends, and two workers may not share one. A node's
name, for which ``%n`` and ``%p`` stand, holds the generation here, so it is another one after each recycle: a new
worker copies the file of the last one of its pool and slot. To a name without either the node's name is appended.

Revokes do not depend on it (revokes.py). So a file that cannot be used costs a line in the log, and no start.
"""

from __future__ import annotations

import re
import shelve
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from celery.utils.nodenames import node_format

from trapd.worker.lines import log_line

SUFFIXES = ("", ".db", ".dat", ".dir", ".bak")  # a dbm is one file or several; which, is the interpreter's affair


def own_file(setting: str, pool: str, slot: str, host: str) -> str | None:
    """The file that a worker is to use, there as far as it could be taken over; None if it cannot be used.

    ``slot``: GENERATION-SLOT.
    """
    named = _named(setting)
    file = str(node_format(named, f"{pool}-{slot}@{host}"))
    number = slot.partition("-")[2]
    before = _newest_first(_of_any_generation(named, pool, number, host), file)
    plain = node_format(setting, f"{pool}-{slot}@{host}")
    sources = [*before[:1], *([plain] if plain != file else [])]  # the second of a plain `celery worker`
    if not any(map(Path.exists, _parts(file))):
        for source in sources:
            if _copied(source, file):
                break
    for old in before[1:]:  # taken over by those that came after
        _remove(old)
    if problem := _problem(file):
        log_line(f"cannot use worker_state_db {file}: {problem}; going on without", "WARNING")
        return None
    return file


def _named(setting: str) -> str:
    return setting if node_format(setting, "a@h") != node_format(setting, "b@h") else f"{setting}.%n"


def _of_any_generation(named: str, pool: str, number: str, host: str) -> Iterator[str]:
    wild = "TRAPDGENERATION"
    pattern = Path(node_format(named, f"{pool}-{wild}-{number}@{host}"))
    name = re.escape(pattern.name).replace(wild, "[0-9]+")
    parts = "|".join(map(re.escape, SUFFIXES))
    with suppress(OSError):
        for path in pattern.parent.iterdir():
            if found := re.fullmatch(f"({name})({parts})", path.name):
                yield str(path.with_name(found[1]))


def _newest_first(found: Iterator[str], but: str) -> list[str]:
    return sorted({*found} - {but}, key=_changed, reverse=True)


def _changed(base: str) -> float:
    times = [0.0]
    for part in _parts(base):
        with suppress(OSError):
            times.append(part.stat().st_mtime)
    return max(times)


def _parts(base: str) -> list[Path]:
    return [Path(base + suffix) for suffix in SUFFIXES]


def _copied(source: str, target: str) -> bool:
    """Its worker may be writing it just now: then it is not used."""
    there = [suffix for suffix in SUFFIXES if Path(source + suffix).is_file()]
    try:
        for suffix in there:
            shutil.copyfile(source + suffix, target + suffix)
    except OSError:
        _remove(target)
        return False
    if there and _problem(target):
        _remove(target)
        return False
    return bool(there)


def _problem(file: str) -> str:
    """As Celery opens it; empty if that works."""
    try:
        with shelve.open(file) as db:
            db.get("zrevoked")
    except Exception as error:  # each kind of dbm has errors of its own
        return f"{type(error).__name__}: {error}"
    return ""


def _remove(base: str) -> None:
    for part in _parts(base):
        part.unlink(missing_ok=True)
