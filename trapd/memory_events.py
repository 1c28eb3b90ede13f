"""How many processes of the own control group the kernel has killed because there was no memory.

The kernel counts them in ``memory.events`` (control groups, version 2) and in ``memory.oom_control`` (version 1, Linux
4.13), those that were killed because the whole machine had no memory included.

Standard library only: this file travels with each generation, because workers read it too.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


class MemoryKills:
    """``root``: where /proc and /sys are. Reads files of the kernel, which does not block."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._known = self.count()

    def count(self) -> int | None:
        """Return the number until now; None if the kernel does not tell."""
        with suppress(OSError):
            for line in (self._root / "proc/self/cgroup").read_text().splitlines():
                number, controllers, path = line.split(":", 2)
                if "memory" in controllers.split(","):
                    top, name = self._root / "sys/fs/cgroup/memory", "memory.oom_control"
                elif number == "0":
                    top, name = self._root / "sys/fs/cgroup", "memory.events"
                else:
                    continue
                for group in (top / path.strip("/"), top):  # in a container that path may be the host's
                    if (found := _oom_kill(group / name)) is not None:
                        return found
        return None

    def rose(self) -> bool:
        """Has the kernel killed one since this was last asked?"""
        before, self._known = self._known, self.count()
        return before is not None and self._known is not None and self._known > before


def _oom_kill(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return None
