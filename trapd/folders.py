"""Lists of files by folder, without an object for each file.

For 100,000 files, objects take 60 MB, and to make them takes longer than all that a look asks the system. So a folder
is one value: its names in one text, and what stat(2) says of them in one run of bytes. A folder that looks as it did is
recognised by comparing these two.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from trapd.file_stamp import identity
from trapd.model import TreeFile

LOOK = struct.Struct("=QQqqq")  # file_stamp.identity
DIGEST = 32  # bytes of a sha256
_BETWEEN = "\0"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to copy. One that is not counted may change without making the code another."""

    path: str  # relative to the import root, with "/"
    source: str
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Folder:
    """Files of one folder. ``walked``: all that matter in it; otherwise those that somebody named."""

    path: str  # where it is below the import root; empty for the import root
    source: str  # where it is on disk
    text: str = ""  # names of the files that count, sorted, with NUL between
    looks: bytes = b""  # LOOK of each of them
    free: str = ""  # names of the files that may change freely, likewise
    links: frozenset[str] = frozenset()  # names of those that are links
    called: str = ""  # the name of its only file on disk, where that is another one
    walked: bool = True

    @property
    def names(self) -> list[str]:
        """Of the files that count."""
        return self.text.split(_BETWEEN) if self.text else []

    @property
    def all_names(self) -> list[str]:
        """Of the files that count, then of the others."""
        return [*self.names, *(self.free.split(_BETWEEN) if self.free else [])]

    def __len__(self) -> int:
        return sum(text.count(_BETWEEN) + 1 for text in (self.text, self.free) if text)

    def __iter__(self) -> Iterator[SourceFile]:
        counted = len(self.names)
        for number, name in enumerate(self.all_names):
            yield SourceFile(join(self.path, name), join(self.source, self.called or name), number < counted)

    def without(self, names: frozenset[str]) -> Folder:
        """The same without these files."""
        kept = [(name, look) for name, look in zip(self.names, split(self.looks), strict=True) if name not in names]
        free = [name for name in self.all_names[len(self.names) :] if name not in names]
        return folder(self.path, self.source, kept, free, links=self.links - names, called=self.called)


def folder(
    path: str,
    source: str,
    counted: Iterable[tuple[str, bytes]],
    free: Iterable[str] = (),
    *,
    links: frozenset[str] = frozenset(),
    called: str = "",
    walked: bool = False,
) -> Folder:
    """``counted``: name and LOOK of each file that counts."""
    listed = sorted(counted)
    text, looks = _BETWEEN.join(name for name, _ in listed), b"".join(look for _, look in listed)
    return Folder(path, source, text, looks, _BETWEEN.join(sorted(free)), links, called, walked)


def single(file: SourceFile) -> Folder:
    """A folder of one file. Raises OSError if a file that counts is not there."""
    path, _, name = file.path.rpartition("/")
    source, called = os.path.split(file.source)
    counted = [(name, look(os.stat(file.source)))] if file.counted else []  # noqa: PTH116
    links = frozenset([name] if os.path.islink(file.source) else [])  # noqa: PTH114
    free = [] if file.counted else [name]
    return folder(path, source, counted, free, links=links, called=called if called != name else "")


def together(files: Iterable[SourceFile]) -> list[Folder]:
    """The files that somebody named, those of one folder together. Raises OSError as ``single`` does."""
    found: dict[tuple[str, str, str], list[Folder]] = {}
    for file in files:
        alone = single(file)
        found.setdefault((alone.path, alone.source, alone.called), []).append(alone)
    return [
        folder(
            path,
            source,
            [(one.text, one.looks) for one in folders if one.text],
            [one.free for one in folders if one.free],
            links=frozenset().union(*(one.links for one in folders)),
            called=called,
        )
        for (path, source, called), folders in found.items()
    ]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a distribution."""

    folders: tuple[Folder, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.folders))

    def __iter__(self) -> Iterator[SourceFile]:
        for folder in self.folders:
            yield from folder


@dataclass(frozen=True, slots=True)
class Copies(Collection[TreeFile]):
    """Files to copy: those of folders whose paths are places in a snapshot, each with the digests of its files."""

    parts: tuple[tuple[Folder, bytes], ...] = ()
    apart: tuple[TreeFile, ...] = ()

    def __len__(self) -> int:
        return len(self.apart) + sum(len(folder) for folder, _ in self.parts)

    def __iter__(self) -> Iterator[TreeFile]:
        yield from self.apart
        for folder, joined in self.parts:
            known = [digest.hex() for digest in digests(joined)]
            for number, file in enumerate(folder):
                yield TreeFile(file.path, file.source, known[number] if file.counted else "")

    def __contains__(self, file: object) -> bool:
        return any(file == other for other in self)


def look(status: os.stat_result) -> bytes:
    """What tells a file from what takes its place."""
    return LOOK.pack(*identity(status))


def split(looks: bytes) -> list[bytes]:
    """One LOOK after the other."""
    return [looks[at : at + LOOK.size] for at in range(0, len(looks), LOOK.size)]


def digests(joined: bytes) -> list[bytes]:
    """One sha256 after the other."""
    return [joined[at : at + DIGEST] for at in range(0, len(joined), DIGEST)]


def join(folder: str, name: str) -> str:
    """A path below ``folder``, which may be empty."""
    return f"{folder}/{name}" if folder else name


def in_order(folders: Iterable[tuple[Folder, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Path and digest of each file that counts, sorted by path, with little memory. ``folders``: with the digests of
    their files. A path that comes twice comes twice."""
    below: dict[str, set[str]] = {}
    held: dict[str, list[tuple[Folder, bytes]]] = {}
    for there, joined in folders:
        held.setdefault(there.path, []).append((there, joined))
        path = there.path
        while path:
            parent, _, name = path.rpartition("/")
            inner = below.setdefault(parent, set())
            if name in inner:
                break
            inner.add(name)
            path = parent
    yield from _below("", held, below)


def _below(
    path: str, held: dict[str, list[tuple[Folder, bytes]]], below: dict[str, set[str]]
) -> Iterator[tuple[str, bytes]]:
    # "a.py" comes before what is in "a/": a folder sorts with the "/" that follows its name in each path
    entries = [(f"{name}/", b"") for name in below.get(path, ())]
    for there, joined in held.get(path, ()):
        entries += zip(there.names, digests(joined), strict=True)
    for name, digest in sorted(entries):
        if digest:
            yield join(path, name), digest
        else:
            yield from _below(join(path, name[:-1]), held, below)
