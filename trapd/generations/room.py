"""How much room a generation needs on the disk, and how much there is."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from tempfile import TemporaryFile

from trapd.generations.copying import FICLONE
from trapd.sizes import amount

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Room:
    """What is to be copied to ``folder``'s file system."""

    def __init__(self, folder: Path) -> None:
        self.needed = 0  # bytes
        self._counted: set[str] = set()
        self._folder = folder
        self._block = os.statvfs(folder).f_frsize

    def add(self, name: str, size: int) -> None:
        """An object of so many bytes comes, once; it takes whole blocks."""
        if name not in self._counted:
            self._counted.add(name)
            self.needed += -(-size // self._block) * self._block

    def check(self, example: Path | None) -> None:
        """Raise OSError if there is not so much, before the disk is full for everybody else on it.

        ``example``: a file that is to be copied. Where the file system lets copies share blocks they need none.
        """
        if example is not None and self.needed > self._free() and not self._can_clone(example):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder.parent))

    def shortage(self) -> str:
        """How much is missing; empty if that is not what stands in the way (a quota, inodes)."""
        free = self._free()
        if self.needed <= free:
            return ""
        missing = amount(self.needed - free)
        return f"it takes {amount(self.needed)} and {amount(free)} are free; make room for {missing} more"

    def _free(self) -> int:
        """Without what the file system keeps for root, who may be trapd: the machine is to go on."""
        found = os.statvfs(self._folder.parent)
        return found.f_bavail * found.f_frsize

    def _can_clone(self, example: Path) -> bool:
        try:
            with example.open("rb") as old, TemporaryFile(dir=self._folder) as new:
                fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError:
            return False
        return True
