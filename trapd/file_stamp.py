"""Whether a file is still the one that was read: what stat(2) says of it, and its content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

# A file written twice within the clock's resolution (4 ms on most kernels) can have the same times and another content.
RACY = 50_000_000  # ns


def identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Device, inode, bytes, times of writing and of change in ns: one of them changes with a file's content."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content(path: Path) -> str:
    """The sha256 of what is in a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
