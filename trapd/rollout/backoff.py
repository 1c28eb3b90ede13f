"""How long to wait before a failed instance is started again."""

from __future__ import annotations

from zlib import crc32

FIRST, FACTOR, CEILING = 1.0, 2.0, 60.0  # seconds; the ceiling keeps an outage of an hour from costing another hour
JITTER = 0.25  # of the delay, either way: workers that failed together must not come back together


def delay(failures: int, key: str) -> float:
    """Seconds to wait after the ``failures``-th failed run in a row (1 is the first).

    The jitter comes from ``key`` and the count, not from chance: the planner must give the same answer each time.
    """
    if failures <= 0:
        return 0.0
    plain = min(CEILING, FIRST * FACTOR ** min(failures - 1, 32))
    spread = crc32(f"{key}#{failures}".encode()) / 0xFFFFFFFF * 2 - 1
    return plain * (1 + JITTER * spread)
