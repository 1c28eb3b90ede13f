"""What the processes of Celery's pool import: they tell it after each task, by a piece of memory that all share.

A child is forked, and has what its parent had loaded by then. What it imports later nobody else can see.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from types import ModuleType
from typing import Any

_FULL = 1 << 16  # bytes, at which it is emptied once all is read


class Children:
    """Made by the parent before it forks."""

    def __init__(self) -> None:
        self._memory = _memory()
        self._parent = os.getpid()
        self._known: set[str] = set(sys.modules)
        self._count = len(self._known)
        self._read = 0
        self._rest = b""

    def forking(self, **_: Any) -> None:
        """In the parent, before a child is made."""
        self._known = set(sys.modules)
        self._count = len(self._known)

    def tell(self, **_: Any) -> None:
        """In a child, after a task."""
        if len(sys.modules) == self._count or os.getpid() == self._parent or self._memory is None:
            return
        fresh = [name for name in list(sys.modules) if name not in self._known]
        self._known.update(fresh)
        self._count = len(sys.modules)
        lines = "".join(f"{name}\t{file}\n" for name in fresh if (file := _file(name)))
        with contextlib.suppress(OSError):
            os.write(self._memory, lines.encode("utf-8", "surrogateescape"))

    def read(self) -> list[tuple[str, str]]:
        """In the parent: modules with their files, of all children, since it was asked last."""
        if self._memory is None or os.fstat(self._memory).st_size == self._read:
            return []
        text = os.pread(self._memory, 1 << 20, self._read)
        self._read += len(text)
        if self._read >= _FULL:  # what a child writes in this instant it, or its successor, may tell no more
            os.ftruncate(self._memory, 0)
            self._read = 0
        whole, _, self._rest = (self._rest + text).rpartition(b"\n")
        lines = [line.partition("\t") for line in whole.decode("utf-8", "surrogateescape").split("\n")]
        return [(name, file) for name, tab, file in lines if tab]


def _memory() -> int | None:
    """Closed in programs that a task starts. None where the kernel, or a filter of system calls, has no such memory."""
    try:
        memory = os.memfd_create("trapd-loaded")
    except OSError:
        return None
    fcntl.fcntl(memory, fcntl.F_SETFL, os.O_APPEND)
    return memory


def _file(name: str) -> str:
    module = sys.modules.get(name)
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return file if isinstance(file, str) and "\n" not in file else ""
