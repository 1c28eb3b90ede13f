"""Finds processes by a mark in their environment: children inherit it, also those who lost their parent."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil


def marked(mark: str) -> set[int]:
    """Living processes whose environment holds ``mark`` ("NAME=value")."""
    return {pid for pid in psutil.pids() if mark.encode() in _environment(pid) and not ended(pid)}


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or not ours to read
        return []


def ended(pid: int) -> bool:
    """Gone, or a zombie that nobody has waited for yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def ended_within(pid: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not ended(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return ended(pid)


def end(pid: int) -> str:
    """Kill it, and tell what it was."""
    words = str(pid)
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        words = f"{pid} {' '.join(process.cmdline())}"
        process.kill()
    return words


def end_all(mark: str, patience: float) -> list[str]:
    """Give the marked processes ``patience`` seconds to end by themselves; kill and name those who do not."""
    deadline = time.monotonic() + patience
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [end(pid) for pid in marked(mark)]
