"""Copies single files and takes whole folders away: what snapshots and their store are made with."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trapd.atomic import write_all
from trapd.errors import SnapshotError

FICLONE = 0x40049409  # ioctl of btrfs, xfs, overlayfs on them: share the blocks until one side is written
_READABLE, _PRIVATE, FOLDER = 0o444, 0o440, 0o555
_CHUNK = 1 << 18  # bytes
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
_WHILE_WRITTEN = 0o600  # permission bits
_TRIES = 9  # to remove a folder, before the last one
CACHE = "__pycache__"


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may do what with a file of a snapshot; nobody may write it."""

    executable: bool = False
    group: int | None = None  # for this group's eyes only; None: for everybody's

    @property
    def mode(self) -> int:
        """Permission bits."""
        return (_READABLE if self.group is None else _PRIVATE) | (self._execute if self.executable else 0)

    @property
    def _execute(self) -> int:
        return 0o111 if self.group is None else 0o110

    @classmethod
    def of(cls, status: os.stat_result, group: int) -> Rights:
        """As the original has them. What its owner has closed to others is for this group, the workers', only."""
        return cls._one(bool(status.st_mode & 0o111), None if status.st_mode & 0o004 else group)

    @classmethod
    @cache
    def _one(cls, executable: bool, group: int | None) -> Rights:
        """One object for all files that have the same."""
        return cls(executable, group)


@dataclass(frozen=True, slots=True)
class Copied:
    """What has arrived."""

    digest: str  # sha256, hex
    size: int  # bytes
    cloned: bool  # it takes no room: the file system shares the blocks


def copy_file(source: str, target: str, digest: str, rights: Rights) -> Copied:
    """Copy a file with its time. Raises OSError, and SnapshotError if the content has not this sha256 ("": any)."""
    with _opened(source, os.O_RDONLY) as old, _opened(target, _NEW) as new:
        status = os.fstat(old)
        found, cloned = _transfer(old, new)
        _finish(new, rights, (status.st_atime_ns, status.st_mtime_ns))
        size = os.fstat(new).st_size
    if digest and found != digest:
        raise SnapshotError(f"cannot copy {source}: it has changed since it was looked at")
    return Copied(found, size, cloned)


def write_file(target: str, content: bytes, rights: Rights) -> None:
    """Make a file of this content. Raises OSError."""
    with _opened(target, _NEW) as new:
        write_all(new, content)
        _finish(new, rights, None)


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    """A descriptor: a file object asks the kernel for four things more, half of the time that a module takes."""
    file = os.open(path, flags | os.O_CLOEXEC, _WHILE_WRITTEN)
    try:
        yield file
    finally:
        os.close(file)


def _finish(new: int, rights: Rights, times: tuple[int, int] | None) -> None:
    if rights.group is None:
        os.fchmod(new, rights.mode)
    else:
        close_to_others(new, rights.group, rights.mode)
    if times is not None:
        os.utime(new, ns=times)


def close_to_others(file: int, group: int, mode: int = _PRIVATE) -> None:
    """Make an open file read-only, for its owner's and that group's eyes."""
    with suppress(PermissionError):  # not a member; the worker will say that it cannot read it
        os.fchown(file, -1, group)
    os.fchmod(file, mode)


def _transfer(old: int, new: int) -> tuple[str, bool]:
    """Returns the digest of what has arrived, and whether the blocks are shared."""
    found, cloned = hashlib.sha256(), True
    try:
        fcntl.ioctl(new, FICLONE, old)
    except OSError:  # another file system, or one that cannot
        cloned = False
    while chunk := os.read(new if cloned else old, _CHUNK):
        found.update(chunk)
        if not cloned:
            write_all(new, chunk)
    return found.hexdigest(), cloned


def sync_file_system(folder: Path) -> None:
    """Return when everything that was written to this folder's file system is on the disk. Raises OSError.

    One call for a whole generation: an fsync(2) for each of thousands of files takes many times as long.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(folder))
    finally:
        os.close(handle)


def freeze(top: Path) -> None:
    """Make a folder and all below it read-only, and open to everybody for reading. The files are so already."""
    for folder, _, _ in os.walk(top, topdown=False):
        Path(folder).chmod(FOLDER)


def discard(top: Path) -> None:
    """Remove a folder, read-only or not; nothing happens if it is not there. Raises OSError.

    Who wrote there for a trapd that was killed may write one file more before it sees that: so it is tried again.
    """
    for last in [False] * _TRIES + [True]:
        try:
            for folder, _, _ in os.walk(top):
                Path(folder).chmod(0o700)
            if top.exists():
                shutil.rmtree(top)
        except OSError as error:
            if last or error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                raise
        else:
            return
