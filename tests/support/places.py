"""Where the tests put what they throw away: in memory, where that has room.

A virtual environment has 6,000 files, and a generation of it as many. On the slowest machine seen, to copy 12,000 files
took 5.0 to 5.7 s of the kernel's time on ext4, and 0.6 s on a tmpfs; the kernel had a quarter of the whole suite's.
"""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

NEEDED = 12 << 30  # bytes that nobody uses: files took 2.8 GB at most, and processes 4 GB
_MEMORY = "/dev/shm"


def short() -> str:
    """A folder for temporary files, whose path is short enough for those of sockets (108 bytes)."""
    with suppress(OSError):
        there = os.statvfs(_MEMORY)
        free = min(there.f_bavail * there.f_frsize, psutil.virtual_memory().available)
        # libraries are loaded from environments, and programs are run
        if free >= NEEDED and not there.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) and os.access(_MEMORY, os.W_OK):
            return _MEMORY
    return "/tmp"
