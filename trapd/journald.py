"""Log lines for a terminal, and for journald with priority and fields, so that ``journalctl POOL=gpu`` works.

The native protocol of systemd.journal-fields(7) and of systemd.io/JOURNAL_NATIVE_PROTOCOL: one datagram, one entry.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
_PRIORITY = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # syslog(3)


def set_up(stream_of_journal: str = os.environ.get("JOURNAL_STREAM", "")) -> None:
    """Log to journald if standard error is connected to journald, else as lines on standard error.

    Fields of a line go with the log call, ``extra={"fields": {"POOL": "gpu"}}``.
    """
    handler: logging.Handler
    if _leads_to_journal(stream_of_journal) and SOCKET.exists():
        handler = JournalHandler(SOCKET)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def encode(entry: Mapping[str, str]) -> bytes:
    """Encode one entry. A value of several lines has its length before it; any other is ``NAME=value``."""
    parts = []
    for name, value in entry.items():
        data = value.encode(errors="replace")
        head = name.encode()
        parts.append(head + b"=" + data if b"\n" not in data else head + b"\n" + struct.pack("<Q", len(data)) + data)
    return b"\n".join(parts) + b"\n"


class JournalHandler(logging.Handler):
    """Sends each record to journald. If journald does not run, the line is lost, and trapd goes on."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.setFormatter(
            logging.Formatter("%(message)s")
        )  # otherwise basicConfig would set a format with the level in it
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            entry = {
                "MESSAGE": self.format(record),
                "PRIORITY": str(next((p for level, p in _PRIORITY if record.levelno >= level), 7)),
                "SYSLOG_IDENTIFIER": "trapd",
                "LOGGER": record.name,
                **getattr(record, "fields", {}),
            }
            self._socket.sendto(encode(entry), self._path)
        except Exception:  # as the library's own handlers do: a line that cannot be logged must not end the program
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def _leads_to_journal(stream_of_journal: str) -> bool:
    """systemd.exec(5): JOURNAL_STREAM is "device:inode" of the stream that it connected."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream_of_journal == f"{status.st_dev}:{status.st_ino}"
