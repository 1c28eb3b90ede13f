"""Files by their content: what several generations have in common is on the disk once.

An object is a file that some generation has, under a second name that tells its content: a hard link. So nothing has to
be counted: the file system does, and an object that no generation has any more is one with a single name. Nothing links
to what is installed, which others write in place.

An object gets its name only once its bytes are on the disk (``Filling.keep``): an empty file under a digest's name,
left by a power cut, would spoil each later generation. For the same reason an object of another size is none.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from trapd.errors import SnapshotError
from trapd.generations.copying import Rights, copy_file

_DIGEST = 64  # characters of a sha256 in hex
# link(2): the file has as many names as it can have (65,000 on ext4), or this file system knows no links
NO_LINK = frozenset({errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})


def name_of(digest: str, rights: Rights) -> str:
    """An object's name: one content under other rights is another object. ``DIGEST``, ``DIGEST-x``, ``DIGEST-g120``."""
    marks = "-x" if rights.executable else ""
    if rights.group is not None:
        marks += f"-g{rights.group}"
    return digest + marks if marks else digest  # the same text: there are 100,000 of them


def digest_of(name: str) -> str:
    """The sha256 that an object's name begins with."""
    return name[:_DIGEST]


def rights_of(name: str) -> Rights:
    """The rights that an object's name tells. Raises ValueError for what is no name of an object."""
    marks = name[_DIGEST:].split("-")[1:]
    groups = [int(mark[1:]) for mark in marks if mark[:1] == "g"]
    return Rights("x" in marks, groups[0] if groups else None)


class Store:
    """Objects in ``directory``, which is made when there is a first one. Its methods block, and raise OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def has(self, name: str, size: int) -> bool:
        """Whether there is this object, of this many bytes."""
        try:
            return self._place(name).stat().st_size == size
        except FileNotFoundError:
            return False

    def give(self, name: str, size: int, target: str) -> bool:
        """Let ``target`` be a link to the object, or a copy where there can be no link; returns whether it is there."""
        place = f"{self.directory}/{name[:2]}/{name[2:]}"  # a Path for each of 100,000 files takes as long as the link
        try:
            if os.stat(place).st_size != size:  # noqa: PTH116
                return False
            os.link(place, target)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            return self._copy(Path(place), name, Path(target))
        return True

    def _copy(self, place: Path, name: str, target: Path) -> bool:
        try:
            copy_file(str(place), str(target), digest_of(name), rights_of(name))
        except (FileNotFoundError, SnapshotError):
            target.unlink(missing_ok=True)
            return False
        return True

    def take(self, name: str, file: str) -> int:
        """Make an object of a file whose bytes are on the disk, in place of one of this name; returns their number."""
        place = f"{self.directory}/{name[:2]}/{name[2:]}"
        try:
            self._link(file, place)
        except FileExistsError:
            os.unlink(place)  # noqa: PTH108 - as above
            self._link(file, place)
        return os.stat(file).st_size  # noqa: PTH116

    def drop(self, name: str) -> None:
        """Have no such object any more; the generations that have the file keep it."""
        self._place(name).unlink(missing_ok=True)

    def _link(self, file: str, place: str) -> None:
        try:
            os.link(file, place)
        except FileNotFoundError:
            self.directory.mkdir(mode=0o700, exist_ok=True)  # digests of secrets can be guessed at
            Path(place).parent.mkdir(exist_ok=True)
            os.link(file, place)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise

    def collect(self) -> int:
        """Remove the objects that no generation has any more; returns how many bytes that frees."""
        freed = 0
        for folder, _, names in os.walk(self.directory):
            for name in names:
                place = Path(folder, name)
                with suppress(FileNotFoundError):
                    status = place.lstat()
                    if status.st_nlink == 1:
                        place.unlink()
                        freed += status.st_size
        return freed

    def _place(self, name: str) -> Path:
        return Path(f"{self.directory}/{name[:2]}/{name[2:]}")
