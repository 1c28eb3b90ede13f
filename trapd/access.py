"""Why the user of this process may not read a file, and what an administrator can do about it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Closed:
    """A file that may not be read. ``path`` is the file, or a folder above it; ``reason`` and ``remedy`` are parts of a
    message."""

    path: Path
    reason: str
    remedy: str


def closed(path: Path) -> Closed | None:
    """Return why this user may not read ``path``; None if the user may, or if there is no such file."""
    for folder in reversed(path.absolute().parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return _closed(folder, stat.S_IXGRP)
    if path.exists() and not os.access(path, os.R_OK, effective_ids=True):
        return _closed(path, stat.S_IRGRP)
    return None


def _closed(path: Path, bit: int) -> Closed | None:
    try:
        status = path.stat()
    except OSError:  # removed a moment ago
        return None
    return explain(path, status, bit, user=os.geteuid(), groups=frozenset({os.getegid(), *os.getgroups()}))


def explain(path: Path, status: os.stat_result, bit: int, *, user: int, groups: frozenset[int]) -> Closed:
    """Return reason and remedy. ``bit``: the bit of the mode that the group needs. The remedy is never to join group
    root."""
    me, owner, group = name_of_user(user), name_of_user(status.st_uid), _group(status.st_gid)
    joined = bool(status.st_mode & bit) and status.st_gid != 0 and status.st_gid not in groups and status.st_uid != user
    who = f"user {owner} and the members of group {group}" if joined else f"user {owner}"
    reason = f"user {me} may not read {path} (mode {stat.S_IMODE(status.st_mode):04o}), only {who} may"
    if joined:
        remedy = f"join that group (usermod --append --groups {group} {me}, then log in again), or run this as root"
    else:
        remedy = f"run this as {owner if status.st_uid else 'root'}, or let user {me} read it"
    return Closed(path, reason, remedy)


def name_of_user(number: int) -> str:
    """The user's name, or the number where there is none."""
    import pwd  # imported late: the units' generator, which needs no names, runs before names can be looked up

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
