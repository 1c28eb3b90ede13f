"""The digest of what would run: by content, never by events or times."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trapd.content import Content
from trapd.file_stamp import RACY, content, identity


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


class Hasher:
    """Digests of files. What was read once is read again only if the file looks changed, or at a fresh look."""

    def __init__(self, read: Callable[[Path], Stamp] = read) -> None:
        self._read = read
        self._known: dict[str, Stamp] = {}
        self._used: dict[str, Stamp] = {}

    def begin(self, *, fresh: bool) -> None:
        """Begin a look; what the look before did not ask for is forgotten, and with ``fresh`` everything is."""
        self._known, self._used = {} if fresh else self._used, {}

    def stamp(self, source: str) -> Stamp:
        """Raises OSError."""
        known = self._used.get(source)
        if known is None:
            known = self._known.get(source)
            if known is None or known.racy or known.identity != identity(Path(source).stat()):
                known = self._read(Path(source))
            self._used[source] = known
        return known


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
    it. The order of ``digests`` and ``versions`` does not matter.
    """
    lines = ["trapd fingerprint 1", f"interpreter {interpreter}", f"celeryconfig {celeryconfig}"]
    lines += [f"version {name} {version}" for name, version in sorted(versions.items())]
    lines += [f"file {digest} {path}" for path, digest in sorted(digests)]
    return _digest(lines)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
