"""Whether workers on this machine can be kept from writing into their generations, from /proc, without trying."""

from __future__ import annotations

import os
from pathlib import Path

from trapd.settings import Settings, resolve_backend

_CAP_SYS_ADMIN = 21  # capabilities(7): what mount(2) asks for


def unsealed(settings: Settings, status: Path = Path("/proc/self/status"), user: int | None = None) -> str:
    """Return why they cannot, and what to do; empty if they can.

    Workers that systemd runs have a user of their own, and ProtectSystem=strict. ``user``: the user of trapd.
    """
    root = (os.geteuid() if user is None else user) == 0
    if not root or resolve_backend(settings) != "embedded" or may_mount(status):
        return ""
    return (
        "cannot keep workers from writing into their generations: they run as root, and trapd may not mount; "
        "run trapd as another user, or give it CAP_SYS_ADMIN"
    )


def may_mount(status: Path) -> bool:
    """Whether this process has the capability; true if /proc does not show it."""
    try:
        lines = dict(line.partition(":")[::2] for line in status.read_text().splitlines())
        return bool(int(lines["CapEff"], 16) >> _CAP_SYS_ADMIN & 1)
    except (OSError, KeyError, ValueError):
        return True
