"""Ask a worker for its tasks, on the worker's own task socket, and end a task there (trapd/worker/own_account.py).

Tasks run as the workers' user and may put anything in the socket's place. So an answer counts only if the kernel says
that the worker's main process gave it, and it is read as what strangers have written.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trapd.errors import TrapdError
from trapd.peer import peer_of

PATIENCE = 8.0  # s: the worker waits up to 5 s for the end of a task; a process that stands still answers nothing
_LIMIT = 1 << 24  # bytes of an answer


class NoAnswerError(TrapdError):
    """The worker did not answer; the message says why."""


async def ask(path: Path, pid: int, question: Mapping[str, object], patience: float = PATIENCE) -> dict[str, Any]:
    """Return the answer of the worker's main process ``pid``. Raises NoAnswerError."""
    try:
        async with asyncio.timeout(patience):
            return await _ask(path, pid, question)
    except TimeoutError:
        raise NoAnswerError(f"no answer within {patience:g} s") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        raise NoAnswerError(reason) from None


async def _ask(path: Path, pid: int, question: Mapping[str, object]) -> dict[str, Any]:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # a socket's path has 107 bytes at most
            await asyncio.get_running_loop().sock_connect(connection, f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        peer = peer_of(connection)
        if peer.pid != pid:
            raise ValueError(f"process {peer.pid} answers, and not the worker's main process {pid}")
        return await _converse(connection, question)
    finally:
        connection.close()


async def _converse(connection: socket.socket, question: Mapping[str, object]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, json.dumps(question).encode() + b"\n")
    answer = bytearray()
    while more := await loop.sock_recv(connection, 1 << 16):
        answer += more
        if len(answer) > _LIMIT:
            raise ValueError("the answer is too long")
    document = json.loads(answer)
    if not isinstance(document, dict):
        raise ValueError("the answer is no object")
    return document
