"""Digests of installed files that were copied before, by what stat(2) says of them: a second reading is saved.

The next generation shares with the last one all but what changed; to learn what that is, Trap's 960 MB need not be read
again. Nothing is lost with this file but time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from trapd import atomic
from trapd.file_stamp import RACY

Stamp = tuple[int, int, int, int]  # bytes, times of writing and of change in ns, inode
Known = Mapping[str, tuple[Stamp, str]]  # installed file -> its stamp and its sha256 in hex


def stamp(status: os.stat_result) -> Stamp:
    """What changes with a file's content."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def read(file: Path) -> Known:
    """What was kept; nothing if it cannot be read."""
    known: dict[str, tuple[Stamp, str]] = {}
    with suppress(OSError, ValueError), file.open(encoding="ascii") as lines:
        for line in lines:
            source, digest, size, written, changed, inode = json.loads(line)
            known[source] = (size, written, changed, inode), digest
    return known


def keep(file: Path, found: Iterable[tuple[str, Stamp, str]], *, before: float) -> None:
    """Keep sources with their stamps and digests. ``before``: when they were looked at, seconds since the epoch; of
    what changed at that moment nothing is kept. Neither is anything where the disk is full."""
    settled = before * 1e9 - RACY
    lines = (json.dumps([source, digest, *mark]) for source, mark, digest in found if mark[2] < settled)
    with suppress(OSError):
        atomic.write(file, "".join(f"{line}\n" for line in lines), mode=0o600, lasting=False)
