"""The task socket: where trapd asks a worker for its tasks. A thread of the kernel answers, whatever Celery is doing.

Celery's remote control is answered by the loop of the consumer. So a worker does not answer it while it drains, while a
solo pool runs a task, or while the broker is away; and every other user of the broker may give it orders. This socket
is a file in the worker's runtime folder: who may open it is for the file system to say, and the kernel names the
process at the other end.

The thread waits in accept(2) and costs nothing while nobody asks. It uses no part of the standard library that gevent
and eventlet replace, takes no lock, imports nothing and logs nothing: the pool forks while it runs.

    trapd     {"ask": "tasks"}                      one line of JSON
    worker    {"schema": 1, "running": [...], ...}  one line, then the connection is closed
"""

from __future__ import annotations

import _socket
import json
import os
import signal
import struct
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from trapd.worker.green import sleep, start_new_thread

PATIENCE = 2.0  # s that a question, and the reading of its answer, may take
MOST = 1 << 12  # bytes of a question
_BACKLOG = 16
_UCRED = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED of unix(7)
_PAUSE = 0.5  # s after accept(2) has failed, as it does when the process has no descriptors left

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class TaskSocket:
    """``answer`` is called in the thread, with one question at a time. ``users``: who may ask, by number."""

    def __init__(self, path: Path, users: Collection[int], answer: Answer) -> None:
        self._path, self._users, self._answer = path, frozenset(users), answer
        self._socket: Any = None
        self._busy = False  # with a question

    def open(self) -> None:
        """Listen, in a thread of its own. Raises OSError."""
        self._socket = listening = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listening.settimeout(None)  # the application may have set another default
            self._path.unlink(missing_ok=True)
            listening.bind(f"/proc/self/fd/{folder}/{self._path.name}")  # a socket's path has 107 bytes at most
            self._path.chmod(0o660)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
        finally:
            os.close(folder)
        os.register_at_fork(after_in_child=listening.close)  # else the worker's children would keep it open
        start_new_thread(self._serve, ())

    def remove(self) -> None:
        """Remove the file: the worker exits, once the question that it has read is answered. The end of a worker's
        last task lets it exit at once."""
        self._path.unlink(missing_ok=True)
        deadline = monotonic() + PATIENCE
        while self._busy and monotonic() < deadline:
            sleep(0.005)

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        while True:
            try:
                file, _ = self._socket._accept()
            except OSError:
                sleep(_PAUSE)
                continue
            connection = _socket.socket(fileno=file)
            self._busy = True
            try:
                self._converse(connection)
            except (OSError, ValueError, RecursionError):
                pass  # the other end's fault, and its loss
            finally:
                connection.close()
                self._busy = False

    def _converse(self, connection: Any) -> None:
        _, user, _ = _UCRED.unpack(connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size))
        if user not in self._users:
            return
        question = json.loads(_line(connection))
        if not isinstance(question, dict):
            return
        try:
            found = self._answer(question)
        except Exception as error:  # of whatever Celery has become: the asker is told
            found = {"error": f"{type(error).__name__}: {error}"}
        connection.settimeout(PATIENCE)
        connection.sendall(json.dumps(found).encode() + b"\n")


def _line(connection: Any) -> bytes:
    """Raises OSError or ValueError."""
    deadline = monotonic() + PATIENCE
    read = b""
    while b"\n" not in read:
        connection.settimeout(max(0.001, deadline - monotonic()))
        more = connection.recv(MOST)
        if not more or len(read) > MOST:
            raise ValueError("no question")
        read += more
    return read.partition(b"\n")[0]
