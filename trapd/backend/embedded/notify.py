"""The socket on which workers send sd_notify messages. The kernel adds the sender's process id to each message, so no
process can send for another."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from trapd.peer import CREDENTIALS

_FDS = 16  # descriptors that a message may carry (FDSTORE=1); trapd keeps none, but has to close those that come
_ANCILLARY = socket.CMSG_SPACE(CREDENTIALS.size) + socket.CMSG_SPACE(_FDS * 4)
_SIZE = 8192  # bytes; a longer datagram is cut


class NotifySocket:
    """Listens at ``path`` from ``open`` to ``close`` and calls ``receive(pid, fields)`` for each message.

    ``pid`` is the sender's, from its credentials; ``receive`` decides whether the message of that process counts.
    """

    def __init__(self, path: Path, receive: Callable[[int, Mapping[str, str]], None]) -> None:
        self.path = path
        self._receive = receive
        self._socket: socket.socket | None = None
        self._inode = 0

    def open(self) -> None:
        """Make the socket. Raises OSError, for instance if its path is longer than 107 bytes."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self.path.unlink(missing_ok=True)
            listener.bind(str(self.path))
            self.path.chmod(0o600)
        except OSError:
            listener.close()
            raise
        self._socket, self._inode = listener, self.path.lstat().st_ino

    def is_there(self) -> bool:
        """Whether ``path`` still leads to this socket."""
        try:
            return self.path.lstat().st_ino == self._inode
        except OSError:
            return False

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._socket is not None
        loop.add_reader(self._socket, self.drain)

    def drain(self) -> None:
        """Receive every message that was sent up to now: the last message counts before the end of a process is
        judged."""
        while self._socket is not None:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(_SIZE, _ANCILLARY)
            except BlockingIOError:
                return
            pid = _sender(ancillary)
            if pid:
                self._receive(pid, parse(data))

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._socket is not None:
            loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def unlink(self) -> None:
        """Remove the socket's file; if that is not possible, the file is not there any more."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def parse(data: bytes) -> dict[str, str]:
    """Return the fields of a message, lines of KEY=value; other lines are dropped."""
    lines = data.decode("utf-8", "replace").split("\n")
    return {key: value for key, is_field, value in (line.partition("=") for line in lines) if is_field and key}


def microseconds(fields: Mapping[str, str], key: str) -> float:
    """Return a time in seconds from a field in microseconds; 0 if the field is absent or no number."""
    value = fields.get(key, "")
    return int(value) / 1e6 if value.isascii() and value.isdigit() else 0.0


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int:
    pid = 0
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS and len(data) >= CREDENTIALS.size:
            pid = CREDENTIALS.unpack_from(data)[0]
        elif kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
    return pid
