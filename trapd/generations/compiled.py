"""Compiled files that do not look at their source's time (PEP 552, unchecked hashes).

A file of the store has one time, whatever the time of the installed file was that it is used for. A .pyc that records
its source's time would be stale then, and could not be written anew: Trap's workers would compile for 2.0 instead of
0.65 CPU seconds at each start. The code in the file is the same; 12 bytes of the header are others.
"""

from __future__ import annotations

import _imp
import hashlib
import os
from contextlib import suppress
from importlib.util import source_from_cache

_HASH, _CHECKED = 0b01, 0b10  # flags in the header
_HEADER = 16  # bytes: magic number, flags, then time and size of the source or a hash of it


def source_of(path: str) -> str:
    """Which module this is the compiled file of; empty for what is in no __pycache__, or no name that Python gives."""
    with suppress(ValueError):
        return source_from_cache(path) if path.endswith(".pyc") else ""
    return ""


def level_of(path: str) -> int:
    """The level of optimization that the name of a compiled file tells."""
    mark = path.rpartition("/")[2].split(".")[-2]
    return int(mark.removeprefix("opt-")) if mark.startswith("opt-") else 0


def unchecked(source: str, compiled: str, digest: str) -> bytes | None:
    """The content of a .pyc that is valid however old its source looks; None if it is not of this source.

    ``digest``: sha256 of what the source must be. Raises OSError.
    """
    with open(source, "rb") as file:  # noqa: PTH123 - a Path takes as long as the rest
        status, text = os.fstat(file.fileno()), file.read()
    if hashlib.sha256(text).hexdigest() != digest:
        return None
    with open(compiled, "rb") as file:  # noqa: PTH123 - as above
        made, code = os.fstat(file.fileno()), file.read()
    if len(code) <= _HEADER:
        return None
    magic, flags = code[:4], int.from_bytes(code[4:8], "little")
    mark = _imp.source_hash(int.from_bytes(magic, "little"), text)  # importlib.util.source_hash, for any Python
    if flags == _HASH:
        return code
    if flags == _HASH | _CHECKED:
        valid = code[8:16] == mark
    else:  # Python compares whole seconds; a file older than its source is of the source before
        words = int.from_bytes(code[8:12], "little"), int.from_bytes(code[12:16], "little")
        seconds = int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF
        valid = flags == 0 and words == seconds and made.st_mtime_ns >= status.st_mtime_ns
    return magic + _HASH.to_bytes(4, "little") + mark + code[_HEADER:] if valid else None
