"""The commands to show when trapd does not answer at its socket, in the words of the backend in force."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trapd.layout import State

if TYPE_CHECKING:
    from trapd.settings import Settings

_LOCKS = Path("/proc/locks")  # proc(5); every user may read it, but only trapd may read its lock file


@dataclass(frozen=True, slots=True)
class Hints:
    """``start`` and ``reload`` are commands; ``lock`` is a file that a running trapd holds locked."""

    start: str = "start trapd"
    reload: str = "send it SIGHUP"
    lock: Path | None = None

    def running(self) -> int | None:
        """Return the process id of the trapd that holds the lock; None if none does, or this user cannot see it."""
        return _holder(self.lock) if self.lock else None


def hints(settings: Settings) -> Hints:
    """Return the hints for the trapd of this configuration."""
    from trapd.settings import resolve_backend  # not needed with --socket

    lock = State(settings.state_directory).lock
    if resolve_backend(settings) == "systemd":
        return Hints("start it with systemctl start trapd", "systemctl reload trapd", lock)
    return Hints(f"start it with trapd --config {settings.file}", "kill -HUP {pid}", lock)


def _holder(lock: Path, locks: Path = _LOCKS) -> int | None:
    """Return the process id that holds flock(2) on that file."""
    try:
        number, lines = lock.stat().st_ino, locks.read_text().splitlines()
    except OSError:
        return None
    for line in lines:  # "4: FLOCK  ADVISORY  WRITE 20946 fd:01:1311768 0 EOF"
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(number):
            return int(words[4]) if words[4].isdecimal() else None
    return None
