"""Has an order done by a process of its own, so that what it needs for each of 100,000 files is given back.

In trapd itself such objects took 300 MB for good: the C library keeps pages on which anything else still lies.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from trapd.errors import SnapshotError
from trapd.generations.order import Order, Tell

_COMMAND = ("-P", "-m", "trapd.generations.maker")
_LINE = 1 << 24  # bytes of one line of its answer


@dataclass(frozen=True, slots=True)
class Begun:
    """A process that waits for its order. To import what it needs takes it as long as to link 5,000 files."""

    process: asyncio.subprocess.Process
    writing: int  # the descriptor through which it gets the order

    @property
    def alive(self) -> bool:
        """Whether an order can be given to it."""
        return self.process.returncode is None

    async def end(self) -> None:
        """Return when it is gone: nobody needs it any more."""
        os.close(self.writing)
        await _gone(self.process)


async def begin() -> Begun:
    """Raises OSError. Whoever has it has to end it, or to hand it to ``run``; with trapd it ends by itself."""
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *_COMMAND),
            stdin=reading,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
            process_group=0,  # with what it starts: see ``run``
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return Begun(process, writing)


async def run(order: Order, tell: Tell, begun: Begun | None = None) -> Any:
    """Return what the order's method returned. Raises SnapshotError as it did, and if the process came to no end."""
    try:
        begun = begun or await begin()
    except OSError as error:
        raise SnapshotError(f"cannot {order.what}: no process: {(error.strerror or str(error)).lower()}") from error
    process = begun.process
    try:
        sending = asyncio.to_thread(_send, begun.writing, replace(order, by=os.getpid()))
        await asyncio.shield(sending)  # a thread that is cancelled before it begins would leave the pipe open
        assert process.stdout is not None
        answer: dict[str, Any] = {}
        async for line in process.stdout:
            answer = json.loads(line)
            if "needed" in answer:
                tell(answer["needed"])
            elif "log" in answer:
                name, level, text = answer["log"]
                logging.getLogger(name).log(level, "%s", text)
        status = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await _gone(process)
    if "error" in answer:
        raise SnapshotError(answer["error"])
    if "done" not in answer:
        raise SnapshotError(f"cannot {order.what}: {_ended(status)}")
    return answer["done"]


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Wait for its end, also while others cancel us: whoever comes next works in the same folders."""
    ending, cancelled = asyncio.ensure_future(process.wait()), False
    while not ending.done():
        try:
            await asyncio.wait([ending])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def _send(writing: int, order: Order) -> None:
    with suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
        pickle.dump(order, pipe, protocol=pickle.HIGHEST_PROTOCOL)


def _ended(status: int) -> str:
    if status == -signal.SIGKILL:
        return "its process was killed; was there too little memory? see the kernel's log"
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"its process ended with {how}; see trapd's log"
