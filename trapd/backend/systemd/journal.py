"""The last words of one run of a unit, from systemd's journal."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence

from trapd.backend.words import STACK_LINES, last_words

TIMEOUT = 5.0  # s; it takes 10 to 30 ms
LATER = 0.2  # s after which to look again: journald hears of the last lines when PID 1 hears of the end
_LINES = 2 * STACK_LINES


async def of_run(journalctl: Sequence[str], invocation: str) -> str:
    """What its processes said; if they said nothing, what systemd said of it. Empty if the journal cannot be read."""
    for field, pause in (("_SYSTEMD_INVOCATION_ID", 0.0), ("_SYSTEMD_INVOCATION_ID", LATER), ("INVOCATION_ID", 0.0)):
        await asyncio.sleep(pause)
        lines = await asyncio.to_thread(_read, [*journalctl, *_OPTIONS, f"{field}={invocation}"])
        if lines:
            return last_words(lines)
    return ""


_OPTIONS = ("--quiet", "--no-pager", "--output=cat", f"--lines={_LINES}")


def _read(command: Sequence[str]) -> list[str]:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.decode("utf-8", "replace").splitlines()
