"""The table of a generation: each of its files, with the object that it is and its size.

One JSON text a line, so that a table of ten thousands of files can be read without holding all of it. It is written
before the manifest; of trapd up to 0.1.0 there are generations with ``files.json`` instead, which has sizes only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from trapd.contracts import Cost
from trapd.generations.copying import CACHE, close_to_others
from trapd.generations.manifest import RUNTIME
from trapd.generations.store import digest_of

NAME, FORMER = "files.jsonl", "files.json"
SCHEMA = 1
Span = tuple[int, int]  # of bytes in a table
_RUN = re.compile(rb'\["([^"]*)/[^/"]*", .*\n(?:\["\1/[^/"]*", .*\n)*')  # lines of files of one folder
_LINE = re.compile(rb'\["((?:[^"\\]|\\.)*)/(?:[^/"\\]|\\.)*", .*\n')  # one, where a name may have a quotation mark


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a generation."""

    path: str  # inside the generation
    object: str  # its name in the store; empty where that is not known: of a generation of an earlier trapd
    size: int  # bytes

    @property
    def digest(self) -> str:
        """sha256 in hex; empty where that is not known."""
        return digest_of(self.object)


class Sections:
    """A table by folder, as its lines are, for one who needs only a few of 100,000 entries. Raises as ``read`` does."""

    def __init__(self, folder: Path) -> None:
        self._data = (folder / NAME).read_bytes()
        self._spans: dict[str, list[Span]] = {}
        for place, span in spans(self._data):
            self._spans.setdefault(place, []).append(span)

    def lines(self, folder: str) -> bytes:
        """Of the files of one folder; empty if there are none."""
        return b"".join(self._data[start:end] for start, end in self._spans.get(folder, ()))

    def entries(self, folder: str) -> list[Entry]:
        """The files of one folder."""
        return parsed(self.lines(folder))


def spans(data: bytes) -> Iterator[tuple[str, Span]]:
    """Each folder of a table, and where the lines of its files are; a folder may come again. Raises ValueError."""
    start = data.index(b"\n") + 1
    _head(data[:start])
    run = _RUN if b'\\"' not in data else _LINE
    while start < len(data):
        if (found := run.match(data, start)) is None:
            raise ValueError(f"it has no line at byte {start}")
        yield json.loads(b'"' + found[1] + b'"'), found.span()
        start = found.end()


def parsed(lines: bytes) -> list[Entry]:
    """The entries of some lines."""
    return [Entry(path, name, size) for path, name, size in json.loads(b"[" + lines[:-1].replace(b"\n", b",") + b"]")]


def write(folder: Path, entries: Iterable[Entry], cost: Cost, *, group: int, lines: Iterable[bytes] = ()) -> None:
    """Write it, read-only, and return when it is on the disk. Raises OSError. ``lines``: of another table.

    Only ``group`` may read it: the digest of a short secret is as good as the secret.
    """
    with (folder / NAME).open("xb") as file:
        close_to_others(file.fileno(), group)
        head = {"schema": SCHEMA, **asdict(cost)}
        file.write(json.dumps(head).encode() + b"\n")
        file.writelines(lines)
        for entry in entries:
            file.write(json.dumps([entry.path, entry.object, entry.size]).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Iterator[Entry]:
    """Each file of a generation. Raises OSError, and ValueError for what is no table that this trapd understands."""
    try:
        with (folder / NAME).open(encoding="utf-8") as file:
            _head(file.readline())
            for line in file:
                path, name, size = json.loads(line)
                yield Entry(path, name, size)
    except FileNotFoundError:
        former: Mapping[str, int] = json.loads((folder / FORMER).read_text("utf-8"))
        yield from (Entry(path, "", size) for path, size in former.items())


def of_application(folder: Path) -> dict[str, tuple[str, int]]:
    """Path -> digest and size of each file of a generation but trapd's own part and what Python compiled. Raises as
    ``read`` does."""
    entries = (e for e in read(folder) if not (e.path.startswith(f"{RUNTIME}/") or f"/{CACHE}/" in e.path))
    return {entry.path: (entry.digest, entry.size) for entry in entries}


def cost(folder: Path) -> Cost | None:
    """What making a generation took; None if it does not say. Raises OSError and ValueError."""
    try:
        with (folder / NAME).open(encoding="utf-8") as file:
            head = _head(file.readline())
    except FileNotFoundError:
        return None
    return Cost(**{field.name: head.get(field.name, 0) for field in fields(Cost)})


def _head(line: str | bytes) -> dict[str, int]:
    head: dict[str, int] = json.loads(line)
    if head["schema"] != SCHEMA:
        raise ValueError(f"it has schema {head['schema']!r}, and this trapd knows only {SCHEMA}")
    return head
