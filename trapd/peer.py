"""Who is at the other end of a Unix socket. The kernel says; nobody can pretend."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


@dataclass(frozen=True, slots=True)
class Peer:
    """As it was when it connected, or listened."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """The process at the other end of this connection. Raises OSError."""
    return Peer(*CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)))
