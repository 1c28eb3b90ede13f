"""Compiles what no installer has: once for a generation, in the background, by the application's interpreter.

uv compiles nothing unless it is asked to. In a folder that nobody may write, each worker would compile all that it
imports, at each start. What is compiled becomes part of the store, so that later generations take it over.
"""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from trapd.contracts import Cost
from trapd.generations import compile_files, compiled, table
from trapd.generations.copying import FOLDER, sync_file_system, write_file
from trapd.generations.manifest import CELERYCONFIG
from trapd.generations.store import Store, name_of, rights_of
from trapd.generations.table import Entry

_OPTIMIZE = "PYTHONOPTIMIZE"
_WRITABLE = 0o755


def levels(pools: Mapping[str, Mapping[str, object]]) -> list[int]:
    """The levels of optimization at which workers of these pools run, as the manifest has them."""
    found = set()
    for pool in pools.values():
        environment = pool.get("environment")
        value = environment.get(_OPTIMIZE, "") if isinstance(environment, Mapping) else ""
        found.add(min(int(value), 2) if value.isdecimal() else int(bool(value)))  # as Python reads it
    return sorted(found or {0})


def sources(entries: Iterable[Entry], wanted: list[int]) -> list[str]:
    """Modules of a generation that lack a compiled file of one of these levels; not the celeryconfig, whose passwords
    would then stand in one file more."""
    modules, there = list[str](), set[tuple[str, int]]()
    for entry in entries:
        if entry.path.endswith(".py") and entry.path != CELERYCONFIG:
            modules.append(entry.path)
        elif module := compiled.source_of(entry.path):
            there.add((module, compiled.level_of(entry.path)))
    return [module for module in modules if any((module, level) not in there for level in wanted)]


def seal(folder: Path) -> None:
    """One who was killed while it put something into this folder has left it open to be written. Raises OSError."""
    if stat.S_IMODE(folder.stat().st_mode) != FOLDER:
        folder.chmod(FOLDER)


def run(python: str, folder: Path, names: list[str], wanted: list[int], target: Path) -> None:
    """Let ``python`` compile these modules of the generation in ``folder``. Raises OSError if it cannot be run.

    What only lies there, and in no table, is made again: one who was killed had put it there.
    """
    there = [entry.path for entry in table.read(folder) if compiled.source_of(entry.path)]
    job = {"folder": str(folder), "sources": names, "levels": wanted, "there": there, "target": str(target)}
    subprocess.run(
        [python, "-I", "-S", compile_files.__file__],
        input=json.dumps(job).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        check=False,
    )


def take_in(folder: Path, staged: Path, store: Store, *, group: int) -> int:
    """Give the generation in ``folder`` what was compiled for it below ``staged``; returns how many files.

    Raises OSError; what was taken in before is then simply there: compiled files belong to no table's whole.
    """
    entries = {entry.path: entry for entry in table.read(folder)}
    fresh = dict[str, Path]()
    for file in sorted(staged.rglob("*.pyc")):
        path = str(file.relative_to(staged))
        source = entries.get(compiled.source_of(path))
        if source is None or path in entries:
            continue
        code, rights = file.read_bytes(), rights_of(source.object)
        file.unlink()
        write_file(str(file), code, rights)
        entries[path] = Entry(path, name_of(hashlib.sha256(code).hexdigest(), rights), len(code))
        fresh[path] = file
    if not fresh:
        return 0
    sizes = {path: entries[path].size for path in fresh if not store.has(entries[path].object, entries[path].size)}
    before = table.cost(folder) or Cost()
    cost = replace(before, size=sum(entry.size for entry in entries.values()), added=before.added + sum(sizes.values()))
    table.write(staged, (entries[path] for path in sorted(entries)), cost, group=group)
    sync_file_system(staged)
    for path, file in fresh.items():
        if path in sizes:
            store.take(entries[path].object, str(file))
        else:
            _share(entries[path], file, store)
        _put(folder / path, file)
    folder.chmod(_WRITABLE)
    try:
        (staged / table.NAME).replace(folder / table.NAME)
    finally:
        folder.chmod(FOLDER)
    return len(fresh)


def _share(entry: Entry, file: Path, store: Store) -> None:
    """Let the file be the object that is there: of another generation, or of one killed before it was placed."""
    shared = file.with_suffix(".shared")
    if store.give(entry.object, entry.size, str(shared)):
        shared.replace(file)


def _put(place: Path, file: Path) -> None:
    """Move a file into a folder that nobody may write. All on one file system: the state directory's."""
    cache = place.parent
    if not cache.is_dir():
        cache.parent.chmod(_WRITABLE)
        try:
            cache.mkdir()
        finally:
            cache.parent.chmod(FOLDER)
    seal(cache.parent)
    cache.chmod(_WRITABLE)
    try:
        file.replace(place)
    finally:
        cache.chmod(FOLDER)
