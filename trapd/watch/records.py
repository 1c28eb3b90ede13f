"""Whether the files of an installed distribution are as its RECORD says.

A Trap's environment has 24,000 recorded files. So a RECORD is parsed once for as long as it is the same, and a file is
read again only if a file of its distribution looks changed: a look costs one stat for each file. What is kept is bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trapd.file_stamp import RACY, content, identity
from trapd.watch.distributions import Recorded, read_record

# Whose RECORD says what is there. Others change files after it was written: conda puts prefixes in, Debian strips
# libraries. pip names itself last of all, so nobody's may be that of a pip which was killed. The first word, in small
# letters: Poetry writes "Poetry 2.5.1".
_TRUE_TO_RECORD = frozenset({"", "pip", "uv", "poetry", "pdm"})
_CODE = (".py", ".so")


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not as it was recorded."""

    path: str  # as in RECORD
    why: str
    found: str = field(default="", compare=False)  # digest of what is there instead


@dataclass(slots=True)
class _Known:
    stamp: object  # of RECORD and INSTALLER
    true: bool  # whether its installer keeps to the RECORD, or it was seen to be true once
    installer: str
    paths: bytes
    seen: bytes = b""  # what the files looked like when they were compared
    faults: tuple[Fault, ...] = ()


class Records:
    """The RECORDs of an environment."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}
        self._used: dict[Path, _Known] = {}

    def begin(self) -> None:
        """Begin a look; what the look before did not ask for is forgotten."""
        self._known, self._used = self._used, {}

    def faults(self, site: Path, metadata: str, *, fresh: bool = False) -> tuple[Fault, ...] | None:
        """What is not as recorded; None if there is no RECORD that can be read. ``fresh``: trust no file's times.

        An installer that is not known to keep to its RECORD is held to it once all of that RECORD was true; until then
        only code has to be there. Raises OSError for a file that cannot be looked at.
        """
        info = site / metadata
        stamp = (_stamp(info / "RECORD"), _stamp(info / "INSTALLER"))
        known = self._used.get(info) or self._known.get(info)
        if known is None or known.stamp != stamp:
            lines = list(_lines(info))
            if not lines:
                return None
            installer = read_installer(info)
            known = _Known(
                stamp, keeps_to_record(installer), installer, b"\0".join(os.fsencode(line.path) for line in lines)
            )
        self._used[info] = known
        seen = _looks(site, known.paths)
        if fresh or not seen or seen != known.seen:
            found = tuple(_faults(site, _lines(info)))
            if known.true or not found:
                known.true, known.faults = True, found
            else:
                known.faults = tuple(f for f in found if f.why == _MISSING and f.path.endswith(_CODE))
            known.seen = seen
        return known.faults

    def installer(self, site: Path, metadata: str) -> str:
        """What INSTALLER says; empty if there is none."""
        known = self._used.get(site / metadata)
        return known.installer if known else read_installer(site / metadata)


def keeps_to_record(installer: str) -> bool:
    """Whether an installer, as INSTALLER names it, leaves files as its RECORD says."""
    return (installer.lower().split() or [""])[0] in _TRUE_TO_RECORD


def _lines(info: Path) -> Iterator[Recorded]:
    for line in read_record(info):
        if not line.path.endswith((".pyc", "/RECORD")):
            yield line


def read_installer(info: Path) -> str:
    """The text of INSTALLER, empty if there is none."""
    try:
        return (info / "INSTALLER").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _stamp(path: Path) -> object:
    try:
        return identity(path.stat())
    except OSError:
        return None


def _looks(site: Path, paths: bytes) -> bytes:
    """What stat says of all these files; empty if it may say the same of other content."""
    digest, top, youngest = hashlib.blake2b(digest_size=16), os.fsencode(site) + b"/", 0
    now, pack = time.time_ns(), struct.Struct("=QQqqq").pack
    for path in paths.split(b"\0"):
        try:
            found = os.stat(top + path)  # noqa: PTH116 (of bytes, 24,000 times)
        except (FileNotFoundError, NotADirectoryError):
            digest.update(b"-")
            continue
        youngest = max(youngest, found.st_ctime_ns)
        digest.update(pack(*identity(found)))
    return b"" if abs(now - youngest) < RACY else digest.digest()


_MISSING = "is missing"


def _faults(site: Path, lines: Iterator[Recorded]) -> Iterator[Fault]:
    for line in lines:
        if why := _fault(site / line.path, line):
            yield Fault(line.path, why, "" if why == _MISSING else _digest(site / line.path))


def _fault(file: Path, line: Recorded) -> str:
    algorithm, _, recorded = line.digest.partition("=")
    try:
        size = file.stat().st_size
        if line.size is not None and size != line.size:
            return f"has {size} bytes, not {line.size} as installed"
        if algorithm == "sha256" and recorded != _digest(file):
            return "has another content than was installed"
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    except PermissionError:  # what trapd may not read it cannot compare; a worker of the same user cannot import it
        return ""
    return ""


def _digest(file: Path) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(content(file))).rstrip(b"=").decode()
