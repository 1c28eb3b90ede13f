"""Text for people, before it is put on a screen. Imports nothing heavy: each verb's file needs it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from trapd.durations import age

_TRACEBACK_LINES = 8


class Word(str):
    """One of our own words: on a terminal it has its colour, if it has one."""

    __slots__ = ()


Cell = str  # of a table; a Word keeps its colour there


def clean(text: object) -> str:
    """Without control characters: what a broken package prints must not steer an administrator's terminal."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in str(text).expandtabs(4))


def versions(found: Mapping[str, str]) -> str:
    """``trap 1.4.0, numpy 2.0.1``"""
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items())) or "-"


def moment(wall: float | None) -> str:
    """Seconds since the epoch as local time; None is now."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall)) if wall is not None else "now"


def since(wall: float | None, now: float) -> str:
    """The time between two moments, in seconds since the epoch: ``3 min 20 s``."""
    return age(now - wall) if wall is not None else "-"


def last_lines(detail: str, lines: int = _TRACEBACK_LINES) -> list[str]:
    """The end of a traceback, which says what was raised; without the import machinery, of which it is mostly made."""
    useful = [line for line in clean(detail).rstrip("\n").split("\n") if 'File "<frozen importlib' not in line]
    return useful[-lines:] if detail.strip() else []
