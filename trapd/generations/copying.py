"""Copies single files and whole folders into a snapshot, and takes snapshots away again."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from io import BufferedRandom, BufferedReader
from pathlib import Path

from trapd.errors import SnapshotError

_FICLONE = 0x40049409  # ioctl of btrfs, xfs, overlayfs on them: share the blocks until one side is written
_READABLE, _PRIVATE, _FOLDER = 0o444, 0o440, 0o555
_CHUNK = 1 << 20
CACHE = "__pycache__"


def copy_file(source: Path, target: Path, digest: str, *, group: int | None = None) -> None:
    """Copy ``source`` with its time, which keeps compiled files valid; the copy is read-only.

    With ``group`` it is for that group's eyes only, not for everybody's. Raises OSError, and SnapshotError if the
    content has not this sha256 ("": any content will do).
    """
    with source.open("rb") as old, target.open("x+b") as new:
        stat = os.fstat(old.fileno())
        found = _transfer(old, new)
        if group is None:
            os.fchmod(new.fileno(), _READABLE | (stat.st_mode & 0o111))
        else:
            close_to_others(new.fileno(), group)
        new.flush()
        os.utime(new.fileno(), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if digest and found != digest:
        raise SnapshotError(f"cannot copy {source}: it has changed since it was looked at")


def close_to_others(file: int, group: int) -> None:
    """Make an open file read-only, for its owner's and that group's eyes."""
    with contextlib.suppress(PermissionError):  # not a member; the worker will say that it cannot read it
        os.fchown(file, -1, group)
    os.fchmod(file, _PRIVATE)


def _transfer(old: BufferedReader, new: BufferedRandom) -> str:
    """Returns the digest of what has arrived."""
    try:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
    except OSError:  # another file system, or one that cannot
        digest = hashlib.sha256()
        while chunk := old.read(_CHUNK):
            digest.update(chunk)
            new.write(chunk)
        return digest.hexdigest()
    return hashlib.file_digest(new, "sha256").hexdigest()


def link_file(source: Path, target: Path) -> None:
    """The same file under another name, for a source that never changes; a copy where links are not possible."""
    try:
        target.hardlink_to(source)
    except OSError:
        stat = source.stat()
        copy_file(source, target, "", group=None if stat.st_mode & 0o004 else stat.st_gid)


def freeze(top: Path) -> None:
    """Make a folder and all below it read-only, and open to everybody for reading. The files are so already."""
    for folder, _, _ in os.walk(top, topdown=False):
        Path(folder).chmod(_FOLDER)


def discard(top: Path) -> None:
    """Remove a folder, read-only or not; nothing happens if it is not there."""
    for folder, _, _ in os.walk(top):
        Path(folder).chmod(0o700)
    if top.exists():
        shutil.rmtree(top)
