"""Who holds a lock on a file, read from proc(5). Reading needs no right to open the file, and never takes the lock."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from trapd import mount_table
from trapd.mount_table import Mount


def holders(files: Iterable[Path], proc: Path) -> Iterator[str]:
    """Yield the process ids that hold a lock on one of these files; waiting for a lock is not holding it."""
    identities = list(files)
    mounts = mount_table.read(proc / "self/mountinfo") if identities else []
    wanted = {identity for path in identities for identity in _identities(path, mounts)}
    for line in _lines(proc / "locks") if wanted else []:
        fields = line.split()
        if "->" not in fields and len(fields) > 5 and fields[5] in wanted:
            yield fields[4]


def _identities(path: Path, mounts: Collection[Mount]) -> Iterator[str]:
    """device:inode as /proc/locks names a file. On overlayfs and btrfs stat() gives another device than the kernel's
    own, which is that of the mount."""
    try:
        found = path.stat()
    except OSError:
        return
    yield f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    if (mount := mount_table.nearest(path, mount_table.by_place(mounts))) is not None:
        major, _, minor = mount.identity[1].partition(":")
        yield f"{int(major):02x}:{int(minor):02x}:{found.st_ino}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
