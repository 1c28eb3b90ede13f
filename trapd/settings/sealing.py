"""Can workers be kept from writing into their generations on this machine? Told by /proc, without trying."""

from __future__ import annotations

import os
from pathlib import Path

from trapd.settings import Settings, resolve_backend

_CAP_SYS_ADMIN = 21  # capabilities(7): what mount(2) asks for


def unsealed(settings: Settings, status: Path = Path("/proc/self/status"), user: int | None = None) -> str:
    """Why they cannot and what to do, in a sentence; empty if they can.

    Workers that systemd runs have a user of their own, and ProtectSystem=strict. ``user``: whom trapd runs as.
    """
    root = (os.geteuid() if user is None else user) == 0
    if not root or resolve_backend(settings) != "embedded" or may_mount(status):
        return ""
    return (
        "cannot keep workers from writing into their generations: they run as root, and trapd may not mount; "
        "run trapd as another user, or give it CAP_SYS_ADMIN"
    )


def may_mount(status: Path) -> bool:
    """Whether this process has the capability. Where nothing is said of it, as if it had."""
    try:
        lines = dict(line.partition(":")[::2] for line in status.read_text().splitlines())
        return bool(int(lines["CapEff"], 16) >> _CAP_SYS_ADMIN & 1)
    except (OSError, KeyError, ValueError):
        return True
