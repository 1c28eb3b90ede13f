"""Durations as people write and read them: "90s", "10min", "1h30min"."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CENTURY = 100 * 366 * 86400.0
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d)\s*")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def seconds(text: str) -> float:
    """Units as in trapd.toml; a number alone is seconds. Raises ValueError."""
    text = text.strip()
    parts = [(text, "s")] if _NUMBER.fullmatch(text) else _PART.findall(text)
    if not re.fullmatch(rf"{_NUMBER.pattern}|(?:{_PART.pattern})+", text):
        raise ValueError(f'{text!r} is no duration: write one such as "90s", "10min" or "1h30min"')
    found = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if found > _CENTURY:  # some digits more, and it is infinite
        raise ValueError("that is longer than a century")
    return found


def age(since: float) -> str:
    """Seconds in at most two units, so that a column stays narrow: 42s, 4m10s, 3h05m, 12d4h."""
    whole = max(0, int(since))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"
