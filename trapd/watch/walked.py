"""What is in the files of one distribution, as a look found them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from trapd.folders import Files, Folder, digests, in_order
from trapd.watch.fingerprint import DIGITS, Digests, Hasher


class Walked:
    """Reads the files when they are asked for, and only those that look changed. Its methods raise OSError."""

    def __init__(self, files: Files, hasher: Hasher) -> None:
        self._files, self._hasher = files, hasher
        self._mark = b""

    def mark(self) -> bytes:
        """Another one if a file that counts has another content, or another name."""
        if not self._mark:
            found = hashlib.blake2b(digest_size=16)
            for folder, there in self._contents():
                found.update(f"{folder.path}\0\0{folder.text}\0\0".encode("utf-8", "surrogateescape"))
                found.update(there.joined)
            self._mark = found.digest()
        return self._mark

    def written(self) -> float:
        """When the youngest file was written, in seconds since the epoch."""
        return max((there.written for _, there in self._contents()), default=0.0)

    def digest(self) -> str:
        """Of names with the digests of what is in them: as ``contents.digest_of`` has it."""
        return _digest(in_order((folder, there.joined) for folder, there in self._contents()))

    def by_folder(self) -> Mapping[str, list[tuple[Folder, Digests]]]:
        """Path of a folder -> what counts in it."""
        found: dict[str, list[tuple[Folder, Digests]]] = {}
        for folder, there in self._contents():
            found.setdefault(folder.path, []).append((folder, there))
        return found

    def _contents(self) -> Iterator[tuple[Folder, Digests]]:
        for folder in self._files.folders:
            if folder.text:
                yield folder, self._hasher.folder(folder)


def contents_of(there: Iterable[tuple[Folder, Digests]]) -> dict[str, bytes]:
    """Name -> sha256 of the files of one folder."""
    return {name: digest for folder, of in there for name, digest in zip(folder.names, digests(of.joined), strict=True)}


class Remembered:
    """Digests of distributions, under names, for as long as the contents of their files are the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, str]] = {}

    def digest(self, name: str, walked: Walked) -> str:
        """Raises OSError."""
        known = self._known.get(name)
        if known is None or known[0] != walked.mark():
            known = self._known[name] = walked.mark(), walked.digest()
        return known[1]


def _digest(files: Iterable[tuple[str, bytes]]) -> str:
    found, between = hashlib.sha256(), ""
    for path, content in files:
        found.update(f"{between}{content.hex()} {path}".encode("utf-8", "surrogateescape"))
        between = "\n"
    return found.hexdigest()[:DIGITS]
