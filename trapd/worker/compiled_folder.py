"""The folder of what numba compiled for one distribution: filled by one process, renamed into place, then read-only.

Two processes that fill one folder leave an index of the one beside machine code of the other, on which every later
import ends with SIGABRT (seen 13 times in a row). So a process compiles into a folder of its own. When its start is
complete it renames that folder to the name that all look for; a process that comes second throws its own away. Standard
library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from trapd.worker.owners import normalise

COMPILER = ("numba", "llvmlite", "numpy")
UNUSED = 60 * 86400.0  # s after which a folder that nobody used is removed
UNFINISHED = 86400.0  # s after which a private folder is one of a process that was killed
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class UnsafeError(Exception):
    """Somebody else may write here: what numba reads from its cache is code."""


def safe(folder: Path) -> Path:
    """Make the folder if it is not there. Raises UnsafeError if another user owns it or may write to it; OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    around = folder.parent.stat().st_mode  # in a folder of everybody only the owner of an entry may move it: sticky
    open_to_others = around & 0o022 and not around & stat.S_ISVTX
    if state.st_uid != os.geteuid() or state.st_mode & 0o022 or open_to_others:
        raise UnsafeError(f"{folder} belongs to another user, or others may write to it")
    return folder


def content(name: str) -> str:
    """Return a digest of this distribution and of the requirements that its compiled code can contain code of.

    Those are the compiler, what the distribution itself requires, and the requirements of each one that requires numba
    in its turn. Python files count by what is in them, because numba does not notice an edit in a *called* file; all
    others by their line in RECORD. Raises PackageNotFoundError.
    """
    digest = hashlib.sha256()
    todo, done = [name, *COMPILER], set[str]()
    while todo:
        here = _normal(todo.pop())
        if here in done:
            continue
        done.add(here)
        try:
            distribution = metadata.distribution(here)
        except metadata.PackageNotFoundError:
            if here == _normal(name):
                raise
            continue  # an optional requirement
        wanted = [_normal(text) for text in distribution.requires or () if "extra ==" not in text]
        if here == _normal(name) or "numba" in wanted:
            todo += wanted
    for here in sorted(done):
        _add(here, digest)
    return digest.hexdigest()


def _add(name: str, digest: hashlib._Hash) -> None:
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    root = str(distribution.locate_file(""))
    for line in sorted((distribution.read_text("RECORD") or "").splitlines()):
        path = line.rsplit(",", 2)[0].strip('"')
        if path.endswith((".pyc", "/RECORD", "/direct_url.json", "/INSTALLER", "/REQUESTED")):
            continue  # of no effect, or made anew by each installation
        digest.update(line.encode())
        if path.endswith(".py"):
            with contextlib.suppress(OSError):
                digest.update(Path(root, path).read_bytes())


def _normal(requirement: str) -> str:
    found = _NAME.match(requirement)
    return normalise(found[0]) if found else ""


class Folder:
    """What is compiled of one distribution: ``place`` is read if it is there, else ``private`` is filled."""

    def __init__(self, root: Path, name: str, processor: str) -> None:
        """``processor``: whatever else decides what the machine code is like. Raises PackageNotFoundError, OSError."""
        key = hashlib.sha256(f"{content(name)}\n{processor}".encode()).hexdigest()[:32]
        self.name, self.place = name, root / f"{name}-{key}"
        self.private = root / f".{name}-{key}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self.told = ""  # why the published folder was thrown away
        self._reading: int | None = None
        self._mark = root / f".reading-{name}-{key}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        if self.place.is_dir() and self._killed_a_reader():
            self.discard("a process was ended while it read it")
        self.full = self.place.is_dir()
        if self.full:
            self._read()

    @property
    def path(self) -> Path:
        return self.place if self.full else self.private

    def publish(self) -> bool:
        """The start is complete: rename what was compiled into place. Returns whether it was this process that did.

        Raises OSError.
        """
        self._release()
        if self.full:
            with contextlib.suppress(OSError):
                os.utime(self.place)
            return False
        if not self.private.is_dir():
            return False
        self.full = True  # nothing more is written, here or there
        try:
            self.private.rename(self.place)
        except OSError:
            shutil.rmtree(self.private, ignore_errors=True)
            if not self.place.is_dir():
                raise
            return False
        return True

    def abandon(self) -> None:
        """The start failed: nothing of it is kept."""
        self._release()
        shutil.rmtree(self.private, ignore_errors=True)

    def discard(self, why: str) -> None:
        """Throw the published folder away; whoever reads it meanwhile compiles."""
        self.told = why
        aside = self.private.with_name(self.private.name + ".unusable")
        with contextlib.suppress(OSError):
            self.place.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _read(self) -> None:
        """Leave a mark that is locked as long as this process reads: a mark without a lock is of one that died."""
        self._reading = os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._reading, fcntl.LOCK_EX)

    def _release(self) -> None:
        if self._reading is not None:
            self._mark.unlink(missing_ok=True)
            os.close(self._reading)
            self._reading = None

    def _killed_a_reader(self) -> bool:
        killed = False
        for mark in self.place.parent.glob(f".reading-{self.place.name}.*"):
            with contextlib.suppress(OSError):  # another process has found it, or it is locked
                file = os.open(mark, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # between its making and its lock a mark is empty of both: that process is still there
                    if not Path(f"/proc/{mark.name.split('.')[-2]}").exists() or _old(mark, 60.0):
                        mark.unlink()
                        killed = True
                finally:
                    os.close(file)
        return killed


def tidy(root: Path) -> None:
    """Remove what nobody has used for 60 days, and what processes that were killed have left."""
    for entry in _entries(root):
        if entry.is_dir() and _old(entry, UNFINISHED if entry.name.startswith(".") else UNUSED):
            shutil.rmtree(entry, ignore_errors=True)


def _entries(root: Path) -> Iterator[Path]:
    try:
        yield from list(root.iterdir())
    except OSError:
        return


def _old(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > seconds
    except OSError:
        return False


def variables(environ: Mapping[str, str]) -> list[str]:
    """Numba's own settings, which may change the code that it makes; not those about where its cache is."""
    names = [name for name in environ if name.startswith("NUMBA_") and "CACHE" not in name]
    return sorted(f"{name}={environ[name]}" for name in names)
