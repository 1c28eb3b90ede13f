"""Compares a generation with its table: disks lose bytes, and people overwrite files that they should not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trapd import file_stamp
from trapd.errors import SnapshotError
from trapd.generations import manifest, stamps, table
from trapd.generations.copying import CACHE, FOLDER
from trapd.generations.store import Store
from trapd.layout import State

_SHOWN = 2  # paths in a sentence


class Examiner:
    """Reads each file once, however many generations have it. It blocks. Without ``content`` it compares only sizes."""

    def __init__(self, store: Store, *, content: bool = True) -> None:
        self._store, self._content = store, content
        self._good: set[tuple[int, str]] = set()  # inode and object

    def damaged(self, directory: Path, numbers: Iterable[int]) -> list[tuple[int, str]]:
        """Numbers of the damaged ones of these generations, the latest first, each with what is wrong."""
        found = ((number, self.examine(directory / str(number))) for number in sorted(numbers, reverse=True))
        return [(number, why) for number, why in found if why]

    def examine(self, folder: Path) -> str:
        """What is wrong with the generation in ``folder``, in words; empty if nothing is.

        A compiled file that is not as it was is removed: Python makes another. The store loses what is damaged, so that
        it is copied anew. Of a generation of trapd up to 0.1.0 only sizes are known.
        """
        try:
            manifest.read(folder)
            damaged = list(self._damaged(folder))
        except SnapshotError as error:
            return str(error)
        except OSError as error:
            return f"cannot read {error.filename or folder}: {(error.strerror or str(error)).lower()}"
        except (ValueError, TypeError, LookupError) as error:
            return f"cannot read {folder / table.NAME}: {error}"
        more = f" and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        return f"{', '.join(damaged[:_SHOWN])}{more}: not as copied" if damaged else ""

    def _damaged(self, folder: Path) -> Iterator[str]:
        for entry in table.read(folder):
            name = f"{folder}/{entry.path}"
            if self._is_whole(name, entry):
                continue
            path = Path(name)
            stamps.forget(State(folder.parent.parent).stamps)
            if entry.object:
                self._store.drop(entry.object)
            if path.parent.name == CACHE:
                _drop(path)
            else:
                yield entry.path

    def _is_whole(self, name: str, entry: table.Entry) -> bool:
        try:
            status = os.stat(name)  # noqa: PTH116 - a Path for each of 25,000 files takes longer than all else here
            if status.st_size != entry.size:
                return False
            known = status.st_ino, entry.object
            if self._content and entry.object and known not in self._good:
                if file_stamp.content(Path(name)) != entry.digest:
                    return False
                self._good.add(known)
        except OSError:  # gone, or the disk cannot read it any more
            return False
        return True


def _drop(cached: Path) -> None:
    """Read-only or not, workers that run as root replace a stale one, and one that a power cut has shortened would end
    the import of good code."""
    if cached.exists():
        cached.parent.chmod(0o755)
        cached.unlink()
        cached.parent.chmod(FOLDER)
