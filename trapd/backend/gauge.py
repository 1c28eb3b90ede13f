"""Measure the memory that is left to workers: /proc/meminfo, and the limits of their control groups (versions 1 and 2).

Files are read when a pass asks, never regularly. Pages of files in a group's memory count as free: the kernel takes
them back before it kills a process (MemAvailable counts them in the same way).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trapd.contracts import MemoryGauge


@dataclass(frozen=True, slots=True)
class _Version:
    """The names of the files of a control group, and of the fields of its memory.stat."""

    limits: tuple[str, ...]
    used: str
    caches: tuple[str, ...]


_V1 = _Version(("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_V2 = _Version(("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file"))
_UNLIMITED = 1 << 62  # version 1 writes almost 2**63 for "max"


class KernelGauge(MemoryGauge):
    """Keeps M1 and M2. ``root``: where /proc and /sys are."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc, self._groups = root / "proc", root / "sys/fs/cgroup"

    async def free(self, process: int) -> int | None:
        return await asyncio.to_thread(self.read, process)

    def read(self, process: int) -> int | None:
        """Return the bytes that are left; None: not known. Call it off the loop."""
        available = _fields(self._proc / "meminfo").get("MemAvailable:")
        if available is None:
            return None
        return max(0, min([available * 1024, *self._left(process)]))

    def cache(self, process: int) -> int:
        """Return the bytes of a worker's own control group that are pages of files; 0 if it shares trapd's group."""
        own = next(self._above(process), None)
        return 0 if own is None or own == next(self._above(), None) else _cache(*own)

    def _left(self, process: int) -> Iterator[int]:
        """Yield the bytes that each control group that limits all workers leaves to them."""
        groups, ours = list(self._above(process)), list(self._above())
        if groups[:1] != ours[:1]:  # the first group is the worker's own: another worker has another
            groups = groups[1:]
        for group, version in groups:
            limits, used = [_number(group / name) for name in version.limits], _number(group / version.used)
            for limit in limits:
                if limit is not None and used is not None and limit < _UNLIMITED:
                    yield limit - used + _cache(group, version)

    def _above(self, process: int | str = "self") -> Iterator[tuple[Path, _Version]]:
        """Yield the memory control group of a process, and all groups above it."""
        for line in _lines(self._proc / str(process) / "cgroup"):
            number, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                top, version = self._groups / "memory", _V1
            elif number == "0":
                top, version = self._groups, _V2
            else:
                continue
            group = top / path.strip("/")
            if not (group / version.used).exists():  # in a container that path may be the host's
                group = top
            while (group / version.used).exists():
                yield group, version
                if group == top:
                    break
                group = group.parent


def _cache(group: Path, version: _Version) -> int:
    fields = _fields(group / "memory.stat")
    return sum(fields.get(name, 0) for name in version.caches)


def _lines(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return file.read_text().splitlines()
    return []


def _fields(file: Path) -> Mapping[str, int]:
    """Return the numbers of lines that begin with "name number", by name."""
    words = [line.split() for line in _lines(file)]
    return {word[0]: int(word[1]) for word in words if len(word) > 1 and word[1].isdecimal()}


def _number(file: Path) -> int | None:
    text = "".join(_lines(file))
    return int(text) if text.isdecimal() else None
