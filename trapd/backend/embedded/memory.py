"""The memory that a worker uses, read from /proc when a command asks for it. Reads files: call it off the loop.

Pss, the proportional share: the children of a worker share most of their pages with it, and each page counts once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def used(pid: int) -> int | None:
    """Return the bytes that a process uses with all its descendants; None if it is gone."""
    shares = [share for share in map(_share, _family(pid)) if share is not None]
    return sum(shares) if shares else None


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):  # the thread has ended, or a kernel without this file
                for child in (task / "children").read_text().split():
                    yield from _family(int(child))


def _share(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return None
