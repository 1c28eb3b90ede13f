"""Files of a run: what the system refuses in a sentence, and a lock that one run holds."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

# Of SQLite: the disk is full, or the file cannot be opened or written. Any other error is one of the program.
_REFUSED = {3: "PERM", 5: "BUSY", 8: "READONLY", 10: "IOERR", 13: "FULL", 14: "CANTOPEN"}
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def refusal(error: BaseException) -> str:
    """Return what a file or its disk refused; empty if ``error`` is something else."""
    found = getattr(error, "orig", None) or error  # SQLAlchemy, by which Trap writes, keeps it there
    if isinstance(found, sqlite3.Error):
        code = getattr(found, "sqlite_errorcode", 0) & 0xFF  # Python 3.10 has none
        return str(found) if code in _REFUSED else ""
    if isinstance(found, OSError) and found.errno is not None:
        words = os.strerror(found.errno)
        return f"{words}: {os.fspath(found.filename)}" if found.filename is not None else words
    return ""


def lock(file: Path) -> int | None:
    """Lock this file, which is made if it is not there; None: another run has it. Raises OSError."""
    while True:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), file.stat()):
                return handle
        os.close(handle)  # of a run that has ended in between, and removed it


@contextlib.contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Hold the lock of this file, which is gone at the end. Yields False if another run has it. Where no file can be
    made there is nothing to be locked."""
    try:
        handle = lock(file)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        yield True
        return
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        file.unlink(missing_ok=True)
        os.close(handle)
