"""The last lines of one run of a unit, from systemd's journal."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence

from trapd.backend.words import STACK_LINES, last_words

TIMEOUT = 5.0  # s; it takes 10 to 30 ms
# s before each look for the run's end: the last lines may reach journald after PID 1 has reported the end to trapd
PAUSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.5)
_LINES = 2 * STACK_LINES
# PID 1's messages about the exit of a process, the success of a unit, and the failure of a unit (sd-messages.h). PID 1
# writes them after the last lines of the run, and before it reports the end on the bus.
_ENDS = (
    "MESSAGE_ID=98e322203f7a4ed290d09fe03c09fe15",
    "MESSAGE_ID=7ad2d189f7e94e70a38c781354912448",
    "MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c",
)


# "A process of this unit has been killed by the OOM killer", also of a process that is not the main one.
_MEMORY = "MESSAGE_ID=fe6faa94e7774663a0da52717891d8ef"


async def out_of_memory(journalctl: Sequence[str], invocation: str) -> bool:
    """Return whether systemd has logged that the kernel killed a process of this run for lack of memory. systemd knows
    that from memory.events, so on control groups of version 2 alone."""
    return bool(await _lines(journalctl, f"INVOCATION_ID={invocation}", _MEMORY))


async def of_run(journalctl: Sequence[str], invocation: str) -> str:
    """Return the last lines of the run's processes; if there are none, systemd's lines about the run. Empty if the
    journal cannot be read."""
    for pause in PAUSES:
        await asyncio.sleep(pause)
        end = await _lines(journalctl, f"INVOCATION_ID={invocation}", *_ENDS)
        if end or end is None:
            break
    for field in ("_SYSTEMD_INVOCATION_ID", "INVOCATION_ID"):
        lines = await _lines(journalctl, f"{field}={invocation}")
        if lines:
            return last_words(lines)
    return ""


_OPTIONS = ("--quiet", "--no-pager", "--output=cat", f"--lines={_LINES}")


async def _lines(journalctl: Sequence[str], *matches: str) -> list[str] | None:
    """Return None if the journal cannot be read."""
    return await asyncio.to_thread(_read, [*journalctl, *_OPTIONS, *matches])


def _read(command: Sequence[str]) -> list[str] | None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").splitlines() or (None if done.returncode else [])
