"""Runs the command of [notify]: one event as JSON on its standard input, and a limit to its time.

What the command writes goes where trapd's own log goes. A pipe would have to be read until its last writer is gone, and
that may be a process which the command has left behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress


async def run(command: Sequence[str], document: Mapping[str, object], limit: float) -> str:
    """Return why it failed, in a few words; empty if it ended with status 0 in ``limit`` seconds. When it has ended, or
    this is cancelled, nothing that it has started in its process group runs on."""
    program = command[0]
    try:
        with os.fdopen(os.memfd_create("trapd-event"), "w+b") as event:
            event.write(json.dumps(document).encode() + b"\n")
            event.seek(0)
            process = await asyncio.create_subprocess_exec(*command, stdin=event, cwd="/", process_group=0)
    except OSError as error:
        return f"{program} cannot be run: {(error.strerror or str(error)).lower()}"
    try:
        async with asyncio.timeout(limit):
            status = await process.wait()
    except TimeoutError:
        return f"{program} had not ended after {limit:g} s, and was killed"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if status == 0:
        return ""
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"{program} {how}; what it wrote is in trapd's log"
