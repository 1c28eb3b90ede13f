"""The table of what is installed: of each distribution its version, and a digest of what it consists of.

Installers write down what they install: the RECORD of a distribution has the digest of each of its files, and is as
good as these files for as long as they are whole (installers.py). So a look costs two calls of stat for each
distribution. Where there is no RECORD (Debian's packages, source trees, the standard library) the files themselves are
read, and then only when the times, size or inode of one has changed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from trapd import file_stamp
from trapd.content import Content
from trapd.file_stamp import RACY, identity
from trapd.watch.commit import commit
from trapd.watch.distributions import HOW, Distribution, locate
from trapd.watch.fingerprint import DIGITS
from trapd.watch.ignore import ignored
from trapd.watch.installers import git_folder
from trapd.watch.record_file import Layouts, read_record
from trapd.watch.sites import Site, find, read_metadata

_NOT_IMPORTED = frozenset({"site-packages", "dist-packages", "test"})  # in the standard library's folder
File = tuple[str, str]  # name, and where it is


class Contents:
    """Makes tables, and remembers what it read so that the next costs little."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[object, str]] = {}  # metadata folder -> stamp of its RECORD, digest
        self.layouts = Layouts()
        self._read: dict[str, tuple[bytes, str]] = {}  # name -> stamps of its files, digest of their content

    def unrecorded(
        self, sites: Sequence[Site], editable: Mapping[str, str], names: Iterable[str]
    ) -> dict[str, Distribution]:
        """Those of the named distributions whose files no RECORD lists. Raises OSError if one vanishes meanwhile."""
        found = {}
        for name in names:
            there = find(sites, name)
            if (
                there
                and not self._recorded(there[0].path / there[1])
                and (located := locate(name, sites, editable, self.layouts))
            ):
                found[name] = located
        return found

    def table(
        self, sites: Sequence[Site], unrecorded: Mapping[str, Distribution], apart: Collection[str] = ()
    ) -> dict[str, Content]:
        """All distributions with metadata but those ``apart``, by normalised name. Of those without a RECORD only the
        files of the ``unrecorded`` are read. Raises OSError if something vanishes meanwhile."""
        found: dict[str, Content] = {}
        seen: set[str] = set()
        for site in sites:
            for name in site.metadata:
                if name not in found and name not in apart and (there := find([site], name)):
                    path = site.path / there[1]
                    seen.add(str(path))
                    digest, at = self._recorded(path), ""
                    if not digest and name in unrecorded:
                        counted = [file for file in unrecorded[name].files if file.counted]
                        digest = self.digest(name, [(file.path, file.source) for file in counted])
                        at = commit_of(unrecorded[name])
                    metadata = read_metadata(path)
                    called = metadata.name if metadata.name != name else ""
                    found[name] = Content(metadata.version, digest, at, called)
        self._records = {key: known for key, known in self._records.items() if key in seen}
        return found

    def interpreter(self, version: str, identity: str, python: Path, standard: Iterable[str]) -> Content:
        """``standard``: the folders of its standard library, and files that it consists of."""
        real = os.path.realpath(python)
        files = [("", real)] if Path(real).is_file() else []
        files += [(path, path) for path in sorted({path for folder in standard for path in _modules(folder)})]
        content = self.digest("", files)
        return Content(version, hashlib.sha256(f"{identity}\n{content}".encode()).hexdigest()[:DIGITS])

    def digest(self, name: str, files: Iterable[File]) -> str:
        """Of what is in these files, under ``name``; read only if one of them looks changed."""
        files, now, youngest = sorted(files), time.time_ns(), 0
        stamps = hashlib.sha256()
        for path, source in files:
            stat = os.stat(source)  # noqa: PTH116 - a Path for each file of the standard library takes longer than this
            youngest = max(youngest, stat.st_ctime_ns)
            seen = (path, *identity(stat))
            stamps.update(repr(seen).encode("utf-8", "surrogateescape"))
        if (known := self._read.get(name)) and known[0] == stamps.digest():
            return known[1]
        content = digest_of((path, file_stamp.content(Path(source))) for path, source in files)
        if now - youngest >= RACY:  # otherwise another change might not show
            self._read[name] = stamps.digest(), content
        return content

    def _recorded(self, metadata: Path) -> str:
        """Empty where there is no RECORD, or where it does not list what is imported: of an editable install."""
        key, record = str(metadata), metadata / "RECORD"
        try:
            stat = record.stat()
        except OSError:
            return ""
        stamp = identity(stat)
        there = self._records.get(key)
        if there is None or there[0] != stamp:
            there = (stamp, "" if _points_elsewhere(metadata) else _digest_of_record(metadata))
            if time.time_ns() - stat.st_ctime_ns >= RACY:
                self._records[key] = there
        return there[1]


def digest_of(files: Iterable[tuple[str, str]]) -> str:
    """Of names with the digests of what is in them; their order does not matter."""
    lines = "\n".join(f"{digest} {path}" for path, digest in sorted(files))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]


def commit_of(distribution: Distribution) -> str:
    """Of the work tree that its files lie in; empty where they lie in none."""
    folders = (git_folder(top) for top in distribution.trees)
    return next((commit(folder) for folder in folders if folder is not None), "")


def _digest_of_record(metadata: Path) -> str:
    """What cannot be read is as good as empty: whether it is whole is judged elsewhere."""
    # what lies outside is not imported: scripts, whose first line has the path of the interpreter, and data
    found = [(line.path, line.digest) for line in read_record(metadata) if line.digest and _is_content(line.path)]
    return digest_of(found) if found else ""


def _is_content(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    how = folder.endswith(".dist-info") and name in HOW
    return not (how or path.endswith(".pyc"))


def _points_elsewhere(metadata: Path) -> bool:
    try:
        return b'"editable"' in (metadata / "direct_url.json").read_bytes()
    except OSError:
        return False


def _modules(folder: str) -> Iterator[str]:
    """Files of the standard library; none of a folder that is not there."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir():
                        if not ignored(entry.name) and entry.name not in _NOT_IMPORTED:
                            waiting.append(entry.path)
                    elif entry.name.endswith((".py", ".so")):
                        yield entry.path
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            yield here
