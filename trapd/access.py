"""What keeps the user of this process from reading a file, and what an administrator can do about it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Closed:
    """``path`` is the file, or a folder above it. ``reason`` and ``remedy`` are parts of a message."""

    path: Path
    reason: str
    remedy: str


def closed(path: Path) -> Closed | None:
    """What stands between this user and the content of ``path``; None if nothing does, or nothing is there."""
    for folder in reversed(path.absolute().parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return _closed(folder, stat.S_IXGRP)
    if path.exists() and not os.access(path, os.R_OK, effective_ids=True):
        return _closed(path, stat.S_IRGRP)
    return None


def _closed(path: Path, bit: int) -> Closed | None:
    try:
        found = path.stat()
    except OSError:  # it has just vanished
        return None
    return explain(path, found, bit, user=os.geteuid(), groups=frozenset({os.getegid(), *os.getgroups()}))


def explain(path: Path, found: os.stat_result, bit: int, *, user: int, groups: frozenset[int]) -> Closed:
    """``bit``: of the mode, what the group would need. Nobody is advised to join group root."""
    me, owner, group = _user(user), _user(found.st_uid), _group(found.st_gid)
    joined = bool(found.st_mode & bit) and found.st_gid != 0 and found.st_gid not in groups and found.st_uid != user
    who = f"user {owner} and the members of group {group}" if joined else f"user {owner}"
    reason = f"user {me} may not read {path} (mode {stat.S_IMODE(found.st_mode):04o}), only {who} may"
    if joined:
        remedy = f"join that group (usermod --append --groups {group} {me}, then log in again), or run this as root"
    else:
        remedy = f"run this as {owner if found.st_uid else 'root'}, or let user {me} read it"
    return Closed(path, reason, remedy)


def _user(number: int) -> str:
    import pwd  # at boot nobody can be asked for names yet, and the units' generator reads the configuration

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
