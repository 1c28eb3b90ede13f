"""Which commit of git a work tree is at, read from its files: git itself may not be installed."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def commit(git: Path) -> str:
    """In hex, of the work tree whose .git folder this is; empty where there is none yet, or none that can be read."""
    head = _text(git / "HEAD")
    reference = head.removeprefix("ref:").strip()
    if reference == head:
        return _checked(head)
    common = Path(git, _text(git / "commondir") or ".")  # a linked work tree shares its references with the first
    for folder in (git, common):
        if found := _checked(_text(folder / reference)):
            return found
    for line in _text(common / "packed-refs").splitlines():
        value, _, name = line.partition(" ")
        if name == reference:
            return _checked(value)
    return ""


def _checked(text: str) -> str:
    return text if _COMMIT.fullmatch(text) else ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except (OSError, ValueError):
        return ""
