"""Whether a file is still the one that was read: what stat(2) says of it, and its content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

# A file written twice within the clock's resolution (4 ms on most kernels) can have the same times and another content.
RACY = 50_000_000  # ns


def identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Device, inode, bytes, times of writing and of change in ns: one of them changes with a file's content."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content(path: Path) -> str:
    """The sha256 of what is in a regular file, in hex. Raises OSError, also for a pipe: its reader waits for ever."""
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
