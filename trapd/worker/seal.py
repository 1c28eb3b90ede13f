"""Nobody writes into a generation, root neither: where root is what a worker runs as, it gets the folder read-only.

Other users cannot write there anyway: folders and files are read-only. The mount is in a namespace of the worker's own,
so nobody else sees it and nothing has to be undone. Under systemd the unit says the same (ProtectSystem=strict).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from trapd.worker.lines import log_line

# linux/sched.h and sys/mount.h: stable numbers of the kernel's own interface
_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 32, 4096, 16384, 1 << 19


def seal(folder: Path) -> bool:
    """Make it read-only for this process and its children, if it runs as root; whether nobody can write there now.

    What is mounted later elsewhere on the machine still arrives here, and nothing of this gets out.
    """
    if os.geteuid() != 0:
        return True
    place = os.fsencode(folder)
    libc = ctypes.CDLL(None, use_errno=True)
    steps: list[Callable[[], int]] = [
        lambda: libc.unshare(_CLONE_NEWNS),
        lambda: libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None),
        lambda: libc.mount(place, place, None, _MS_BIND, None),
        lambda: libc.mount(b"none", place, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None),
    ]
    for step in steps:
        if step():
            why = os.strerror(ctypes.get_errno())
            log_line(f"cannot make {folder} read-only for root: {why}", "WARNING")
            return False
    return True
