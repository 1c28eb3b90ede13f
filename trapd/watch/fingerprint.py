"""The digest of what would run: by content, never by events or times."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trapd.content import Content
from trapd.file_stamp import RACY, content, digest, identity
from trapd.folders import LOOK, Folder, digests, split
from trapd.watch.recall import Recall

DIGITS = 32  # of a digest: 128 bits tell two states of one distribution apart


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file's content, and the times it was read at."""

    digest: str  # sha256, hex
    size: int
    written: float  # mtime, seconds since the epoch
    identity: tuple[int, int, int, int, int]
    racy: bool  # read so soon after a change that another change would not show


def read(path: Path) -> Stamp:
    """Read a file now. Raises OSError."""
    now = time.time_ns()
    seen = identity(path.stat())  # before the content: a change in between shows the next time
    digest = content(path)
    _, _, size, written, changed = seen
    return Stamp(digest, size, written / 1e9, seen, racy=now - changed < RACY)


@dataclass(frozen=True, slots=True)
class Digests:
    """The contents of a folder's files that count."""

    text: str  # their names, as Folder has them
    looks: bytes  # what they looked like; zeros: one that was read so soon after a change that another would not show
    joined: bytes  # the sha256 of each
    written: float  # when the youngest of them was written, seconds since the epoch


_UNTRUSTED = bytes(LOOK.size)


class Hasher:
    """Digests of files. What was read once is read again only if the file looks changed, or at a fresh look."""

    def __init__(
        self, read: Callable[[Path], Stamp] = read, read_digest: Callable[[str], bytes] = digest, racy: int = RACY
    ) -> None:
        self._read, self._read_digest, self._racy = read, read_digest, racy
        self._recall = Recall[object, Stamp | Digests]()
        self._begun = time.time_ns()

    def begin(self, *, fresh: bool) -> None:
        """Begin a look. With ``fresh`` everything is forgotten."""
        if fresh:
            self._recall.clear()
        self._recall.begin()
        self._begun = time.time_ns()

    def end(self) -> None:
        """All that counts was asked for in this look; the rest is forgotten."""
        self._recall.end()

    def stamp(self, source: str) -> Stamp:
        """Of one file. Raises OSError."""
        known = self._recall.now(source)
        if not isinstance(known, Stamp):
            known = self._recall.earlier(source)
            if not isinstance(known, Stamp) or known.racy or known.identity != identity(Path(source).stat()):
                known = self._read(Path(source))
            self._recall.set(source, known)
        return known

    def folder(self, folder: Folder) -> Digests:
        """Of the files of a folder that count. Raises OSError."""
        key = (folder.source, "" if folder.walked else (folder.text, folder.called))
        used = self._recall.now(key)
        if isinstance(used, Digests) and used.text == folder.text:
            return used
        known = self._recall.earlier(key)
        if not isinstance(known, Digests) or (known.text, known.looks) != (folder.text, folder.looks):
            known = self._read_folder(folder, known if isinstance(known, Digests) else None)
        self._recall.set(key, known)
        return known

    def _read_folder(self, folder: Folder, known: Digests | None) -> Digests:
        before = {}
        if known is not None:
            files = zip(known.text.split("\0"), split(known.looks), digests(known.joined), strict=False)
            before = {name: (look, digest) for name, look, digest in files}
        looks, joined, written = [], [], 0
        for name, look in zip(folder.names, split(folder.looks), strict=True):
            there = before.get(name)
            if there is None or there[0] != look:
                there = look, self._read_digest(f"{folder.source}/{folder.called or name}")
            _, _, _, modified, changed = LOOK.unpack(look)
            written = max(written, modified)
            looks.append(look if self._begun - changed >= self._racy else _UNTRUSTED)
            joined.append(there[1])
        return Digests(folder.text, b"".join(looks), b"".join(joined), written / 1e9)


def fingerprint(distributions: Mapping[str, Content], names: Iterable[str]) -> str:
    """One digest of what lies under these names in a table of what is installed. Their order does not matter."""
    there = [(name, distributions[name]) for name in sorted(set(names)) if name in distributions]
    lines = ["trapd fingerprint 2", *(f"{name}\0{content.version}\0{content.digest}" for name, content in there)]
    return _digest(lines)


def earlier_fingerprint(
    digests: Iterable[tuple[str, str]], versions: Mapping[str, str], celeryconfig: str, interpreter: str
) -> str:
    """The fingerprint as a trapd without tables took it, by which generations that it made are known again.

    Of paths and contents of what is watched, of all versions in the dependency closure, and of what runs and configures
    it. ``digests``: sorted by path. The order of ``versions`` does not matter.
    """
    found = hashlib.sha256("\n".join(_before_files(versions, celeryconfig, interpreter)).encode())
    for path, of_file in digests:
        found.update(f"\nfile {of_file} {path}".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _before_files(versions: Mapping[str, str], celeryconfig: str, interpreter: str) -> list[str]:
    lines = ["trapd fingerprint 1", f"interpreter {interpreter}", f"celeryconfig {celeryconfig}"]
    return [*lines, *(f"version {name} {version}" for name, version in sorted(versions.items()))]


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
