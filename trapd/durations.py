"""Durations as users write and read them: "90s", "10min", "1h30min"."""

from __future__ import annotations

import re

EXAMPLES = '"500ms", "2s" or "1h30min"'
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CENTURY = 100 * 366 * 86400.0
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d)\s*")


def seconds(text: str) -> float:
    """Return the seconds of a duration. Raises ValueError, whose message completes "that is ..."."""
    text = text.strip()
    if not re.fullmatch(rf"(?:{_PART.pattern})+", text):
        raise ValueError("no duration")
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if total > _CENTURY:  # with some digits more the number would be infinite
        raise ValueError("longer than a century")
    return total


def age(since: float) -> str:
    """Return seconds in at most two units, so that a column stays narrow: 42s, 4m10s, 3h05m, 12d4h."""
    whole = max(0, int(since))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"
