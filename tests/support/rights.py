"""Files that may not be read, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = 0x20080522  # of the structures of capset(2)
_READ_ALL = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """The calling thread cannot read ``path``, nor what is below it, until the block ends."""
    mode = path.stat().st_mode
    header, sets = _Header(_VERSION, 0), (_Sets * 2)()
    _call("capget", header, sets)
    path.chmod(0)
    sets[0].effective &= ~_READ_ALL
    _call("capset", header, sets)
    try:
        yield
    finally:
        sets[0].effective |= sets[0].permitted & _READ_ALL
        _call("capset", header, sets)
        path.chmod(mode & 0o7777)


def _call(name: str, header: _Header, sets: ctypes.Array[_Sets]) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(ctypes.byref(header), sets):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
