"""Whether the files of an installed distribution are as its RECORD says.

A Trap's environment has 24,000 recorded files. So a RECORD is parsed once for as long as it is the same, and a file is
read again only if a file of its distribution looks changed: a look costs one stat for each file. What is kept is bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trapd.file_stamp import RACY, digest, identity
from trapd.folders import Folder, look
from trapd.watch.fingerprint import Digests
from trapd.watch.recall import Recall
from trapd.watch.record_file import Recorded, read_record, read_section, sections
from trapd.watch.walked import Walked, contents_of

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

    @property
    def unreadable(self) -> bool:
        """Whether nobody knows how it is: trapd's user has no right to read it."""
        return self.why == _UNREADABLE


@dataclass(slots=True)
class _Known:
    stamp: object  # of RECORD and INSTALLER
    true: bool  # whether its installer keeps to the RECORD, or it was seen to be true once
    installer: str
    clean: frozenset[bytes] = frozenset()  # marks of folders that are as their lines of RECORD say
    paths: bytes | None = None  # of the recorded files that no walk finds; None: they were not compared yet
    seen: bytes = b""  # what the files looked like when they were compared
    faults: tuple[Fault, ...] = ()


class Records:
    """The RECORDs of an environment."""

    def __init__(self) -> None:
        self._recall = Recall[Path, _Known]()

    def begin(self) -> None:
        """Begin a look."""
        self._recall.begin()

    def end(self) -> None:
        """All that counts was asked for in this look; the rest is forgotten."""
        self._recall.end()

    def faults(
        self, site: Path, metadata: str, *, fresh: bool = False, walked: Walked | None = None
    ) -> tuple[Fault, ...] | None:
        """What is not as recorded; None if there is no RECORD that can be read. ``fresh``: trust no file's times.
        ``walked``: the contents of its files, as far as they are known; the other files are looked at here.

        An installer that is not known to keep to its RECORD is held to it once all of that RECORD was true; until then
        only code has to be there, and everything readable. Raises OSError for a file that cannot be looked at for
        another reason than missing rights.
        """
        info = site / metadata
        stamp = (_stamp(info / "RECORD"), _stamp(info / "INSTALLER"))
        known = self._recall.now(info) or self._recall.earlier(info)
        if known is None or known.stamp != stamp:
            if next(_lines(info), None) is None:
                return None
            installer = read_installer(info)
            clean = known.clean if known else frozenset[bytes]()
            known = _Known(stamp, keeps_to_record(installer), installer, clean)
        self._recall.set(info, known)
        seen = b"" if known.paths is None else _seen(site, known.paths, walked)
        if fresh or not seen or seen != known.seen:
            compared = _Compared(site, info, walked, known.clean)
            found = tuple(compared.faults())
            known.paths, known.clean = compared.paths(), frozenset(compared.clean)
            if known.true or not found:
                known.true, known.faults = True, found
            else:
                known.faults = tuple(f for f in found if f.unreadable or (f.why == _MISSING and _is_code(f.path)))
            known.seen = compared.looks.seen(walked)
        return known.faults

    def installer(self, site: Path, metadata: str) -> str:
        """What INSTALLER says; empty if there is none."""
        known = self._recall.now(site / metadata)
        return known.installer if known else read_installer(site / metadata)


def keeps_to_record(installer: str) -> bool:
    """Whether an installer, as INSTALLER names it, leaves files as its RECORD says."""
    return (installer.lower().split() or [""])[0] in _TRUE_TO_RECORD


def _lines(info: Path) -> Iterator[Recorded]:
    return _counted(read_record(info))


def _counted(lines: Iterable[Recorded]) -> Iterator[Recorded]:
    return (line for line in lines if not line.path.endswith((".pyc", "/RECORD")))


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


class _Looks:
    """What stat(2) says of files, in few bytes."""

    def __init__(self, site: Path) -> None:
        self._top, self._found, self._youngest = os.fsencode(site) + b"/", hashlib.blake2b(digest_size=16), 0
        self._began = time.time_ns()

    def add(self, path: bytes) -> None:
        """Raises OSError for a file that cannot be looked at."""
        try:
            status = os.stat(self._top + path)  # noqa: PTH116 (of bytes, 24,000 times)
        except (FileNotFoundError, NotADirectoryError):
            self._found.update(b"-")
            return
        except PermissionError:
            self._found.update(b"?")
            return
        self._youngest = max(self._youngest, status.st_ctime_ns)
        self._found.update(look(status))

    def seen(self, walked: Walked | None) -> bytes:
        """Together with the contents that a walk found; empty if all of it may stay the same though a file changes."""
        racy = abs(self._began - self._youngest) < RACY
        return b"" if racy else self._found.digest() + (walked.mark() if walked else b"")


def _seen(site: Path, paths: bytes, walked: Walked | None) -> bytes:
    looks = _Looks(site)
    for path in paths.split(b"\0") if paths else ():
        looks.add(path)
    return looks.seen(walked)


_MISSING = "is missing"
_UNREADABLE = "cannot be read: permission denied"


class _Compared:
    """The files of a distribution, compared with its RECORD."""

    def __init__(self, site: Path, info: Path, walked: Walked | None, clean: frozenset[bytes]) -> None:
        """``clean``: what was so when it was compared before."""
        self._site, self._info, self._before = site, info, clean
        self.clean: set[bytes] = set()
        self._folders = walked.by_folder() if walked else {}
        self._paths: list[bytes] = []
        self.looks = _Looks(site)

    def faults(self) -> Iterator[Fault]:
        """RECORD has the files of one folder one after the other; of most folders nothing has changed."""
        parts = sections(self._info)
        if parts is None:
            yield from self._faults(_lines(self._info))
            return
        for folder, lines in parts:
            there = self._folders.get(folder, ())
            mark = _mark(lines, there) if there else b""
            if mark not in self._before:
                listed = len(self._paths)
                found = list(self._faults(_counted(read_section(lines))))
                yield from found
                if found or len(self._paths) > listed:
                    continue
            if mark:
                self.clean.add(mark)

    def _faults(self, lines: Iterable[Recorded]) -> Iterator[Fault]:
        folder, there = None, dict[str, bytes]()
        for line in lines:
            parent, _, name = line.path.rpartition("/")
            if parent != folder:
                folder, there = parent, contents_of(self._folders.get(parent, ()))
            content = there.get(name)
            if content is not None and line.digest == f"sha256={_text(content)}":
                continue
            if content is None:
                path = os.fsencode(line.path)
                self._paths.append(path)
                self.looks.add(path)  # before it is read
            if fault := _fault(self._site / line.path, line):
                yield fault

    def paths(self) -> bytes:
        """Of the files that were looked at here, with NUL between."""
        return b"\0".join(self._paths)


def _mark(lines: bytes, there: Iterable[tuple[Folder, Digests]]) -> bytes:
    found = hashlib.blake2b(lines, digest_size=16)
    for folder, contents in there:
        found.update(b"\0\0" + folder.text.encode("utf-8", "surrogateescape") + b"\0\0" + contents.joined)
    return found.digest()


def _fault(file: Path, line: Recorded) -> Fault | None:
    algorithm, _, recorded = line.digest.partition("=")
    try:
        size = file.stat().st_size
        if line.size is not None and size != line.size:
            return Fault(line.path, f"has {size} bytes, not {line.size} as installed", _digest(file))
        if algorithm == "sha256" and recorded != (found := _digest(file)):
            return Fault(line.path, "has another content than was installed", found)
        readable = algorithm == "sha256" or os.access(file, os.R_OK, effective_ids=True)
    except (FileNotFoundError, NotADirectoryError):
        return Fault(line.path, _MISSING)
    except PermissionError:
        readable = False
    return None if readable else Fault(line.path, _UNREADABLE, "unreadable")  # it could not be copied


def _is_code(path: str) -> bool:
    return path.endswith(_CODE)


def _digest(file: Path) -> str:
    return _text(digest(str(file)))


def _text(content: bytes) -> str:
    """A digest as RECORD has it."""
    return base64.b64encode(content, b"-_").rstrip(b"=").decode()
