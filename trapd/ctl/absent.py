"""The commands to show when trapd does not answer at its socket, in the words of the backend in force."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trapd.layout import State
from trapd.locks import holders

if TYPE_CHECKING:
    from trapd.settings import Settings

_PROC = Path("/proc")  # proc(5); every user may read which locks are held, but only trapd may open its lock file


@dataclass(frozen=True, slots=True)
class Hints:
    """``start`` and ``reload`` are commands; ``lock`` is a file that a running trapd holds locked."""

    start: str = "start trapd"
    reload: str = "send it SIGHUP"
    lock: Path | None = None

    def running(self) -> int | None:
        """Return the process id of the trapd that holds the lock; None if none does, or this user cannot see it."""
        held = next((pid for pid in holders([self.lock], _PROC) if pid.isdecimal()), None) if self.lock else None
        return int(held) if held else None


def hints(settings: Settings) -> Hints:
    """Return the hints for the trapd of this configuration."""
    from trapd.settings import resolve_backend  # not needed with --socket

    lock = State(settings.state_directory).lock
    if resolve_backend(settings) == "systemd":
        return Hints("start it with systemctl start trapd", "systemctl reload trapd", lock)
    return Hints(f"start it with trapd --config {settings.file}", "kill -HUP {pid}", lock)
