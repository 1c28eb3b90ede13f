"""Puts files in their places below a root, says what it does, and can take it all back."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from trapd import atomic
from trapd.ctl.shipped import Link
from trapd.units.layout import Placed


class Placing:
    """``say`` gets a line for each thing that is done; what is as it should be is passed over in silence."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root, self.say = root, say
        self.changed: list[Path] = []
        self.made: list[Path] = []  # folders

    def below(self, path: Path) -> Path:
        """Where an absolute path of the machine is now."""
        return self.root / path.relative_to("/")

    def put(self, file: Placed) -> None:
        """Write a file in one step, unless it is there as it should be. Raises OSError."""
        target, content = self.below(file.path), file.text.encode()
        if not _is_file(target, content, file.mode):
            self._make_folder(target.parent)
            atomic.write(target, content, mode=file.mode)
            self._done("wrote", file.path)

    def put_if_absent(self, file: Placed) -> bool:
        """For what belongs to the administrator: whatever is there stays. Returns whether it was written."""
        if os.path.lexists(self.below(file.path)):
            self.say(f"kept {file.path}")
            return False
        self.put(file)
        return True

    def link(self, link: Link) -> None:
        """Make a symbolic link, in the place of whatever file is there. Raises OSError."""
        target = self.below(link.path)
        if not (target.is_symlink() and target.readlink() == link.target):
            self._make_folder(target.parent)
            fresh = target.with_name(f".{target.name}.trapd-new")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(link.target)
            fresh.replace(target)
            self._done("linked", link.path)

    def remove(self, path: Path) -> None:
        """Remove a file, a link or a whole folder, if it is there. Raises OSError."""
        target = self.below(path)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif os.path.lexists(target):
            target.unlink()
        else:
            return
        self._done("removed", path)

    def remove_empty(self, folders: Iterable[Path]) -> None:
        """Remove those of the folders that are empty, the deepest first."""
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # not empty, or gone
                self.below(folder).rmdir()

    def _make_folder(self, folder: Path) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
            path.chmod(0o755)  # whatever the umask is: others have to read what is in it
            self.made.append(Path("/", path.relative_to(self.root)))

    def _done(self, what: str, path: Path) -> None:
        self.changed.append(path)
        self.say(f"{what} {path}")


def _is_file(path: Path, content: bytes, mode: int) -> bool:
    try:
        found = path.lstat()
        return stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == mode and path.read_bytes() == content
    except FileNotFoundError:
        return False
