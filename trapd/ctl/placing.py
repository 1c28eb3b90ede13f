"""Put files in their places below a root, print each step, and remove them again."""

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
    """``say`` gets a line for each change; a file that is already in its place gets no line."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root, self.say = root, say
        self.changed: list[Path] = []
        self.made: list[Path] = []  # folders

    def below(self, path: Path) -> Path:
        """Return an absolute path of the machine as a path below the root."""
        return self.root / path.relative_to("/")

    def put(self, file: Placed) -> None:
        """Write a file in one step, unless the same file is there. Raises OSError."""
        target, content = self.below(file.path), file.text.encode()
        if not _is_file(target, content, file.mode):
            self._make_folder(target.parent)
            atomic.write(target, content, mode=file.mode)
            self._done("wrote", file.path)

    def put_if_absent(self, file: Placed) -> bool:
        """Write a file that belongs to the administrator, if there is none; return whether it was written."""
        if os.path.lexists(self.below(file.path)):
            self.say(f"kept {file.path}")
            return False
        self.put(file)
        return True

    def link(self, link: Link) -> None:
        """Make a symbolic link; it replaces a file of that name. Raises OSError."""
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
            path.chmod(0o755)  # against the umask: other users have to read the files in it
            self.made.append(Path("/", path.relative_to(self.root)))

    def _done(self, what: str, path: Path) -> None:
        self.changed.append(path)
        self.say(f"{what} {path}")


def _is_file(path: Path, content: bytes, mode: int) -> bool:
    try:
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == mode and path.read_bytes() == content
    except FileNotFoundError:
        return False
