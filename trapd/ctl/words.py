"""Text for users, before it is put on a screen. Imports nothing heavy: each verb's file needs it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trapd.durations import age
from trapd.problem import ProblemKind

if TYPE_CHECKING:
    from trapd.control import documents

_TRACEBACK_LINES = 8


class Word(str):
    """A word of trapd's own, such as a state: on a terminal it has its colour, if it has one."""

    __slots__ = ()


Cell = str  # of a table; a Word keeps its colour there


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table; ``notes`` are sentences about it, one on each line."""

    cells: Sequence[Cell]
    notes: Sequence[str] = ()


def clean(text: object) -> str:
    """Return the text without control characters: output of a package must not control an administrator's terminal."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in str(text).expandtabs(4))


def versions(distributions: Mapping[str, str]) -> str:
    """Return ``trap 1.4.0, numpy 2.0.1``."""
    return ", ".join(f"{name} {version}" for name, version in sorted(distributions.items())) or "-"


def transition(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return ``trap 1.3.0 -> 1.4.0``; a version that is the same is named once; empty if nothing is known."""
    parts = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name, "removed")
        parts.append(f"{name} {new}" if old in (None, new) else f"{name} {old} -> {new}")
    return ", ".join(parts)


def short(digest: str) -> str:
    """Return the first characters of a digest, which are enough for users to compare."""
    return digest[:8]


def moment(wall: float | None) -> str:
    """Return seconds since the epoch as local time; None is now."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall)) if wall is not None else "now"


def since(wall: float | None, now: float) -> str:
    """Return the time between two moments, in seconds since the epoch: ``3 min 20 s``."""
    return age(now - wall) if wall is not None else "-"


def lasting(problem: documents.OpenProblem, seconds: float) -> str:
    """Return what follows the sentence of a problem; empty if that says itself for how long it has been there."""
    dated = problem["kind"] in {kind.value for kind in ProblemKind if kind.dated}
    return "" if dated or seconds < 1 else f" (for {age(seconds)})"


def last_lines(detail: str, lines: int = _TRACEBACK_LINES) -> list[str]:
    """Return the end of a traceback, which names the exception, without the lines of the import machinery."""
    useful = [line for line in clean(detail).rstrip("\n").split("\n") if 'File "<frozen importlib' not in line]
    return useful[-lines:] if detail.strip() else []
