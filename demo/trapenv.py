"""Trap's own virtual environment, which knows nothing of trapd. It is kept for the next run: 1 GB, 1 to 2 minutes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from demo.processes import DemoError, Processes

CELERY = "celery>=5.5"


def default_place(work: Path) -> Path:
    """Inside trapd's own virtual environment, and so removed with it; in ``work`` if trapd runs in none."""
    return Path(sys.prefix) / "trap" if sys.prefix != sys.base_prefix else work / "trap"


class TrapEnvironment:
    """One at a time may use it. A file in it says that it is whole: it is missing while pip writes."""

    def __init__(self, place: Path, processes: Processes) -> None:
        self.place = place
        self.processes = processes
        self.python = place / "bin" / "python"
        self._whole = place / "whole"
        self._lock: int | None = None

    def prepare(self, version: str, tick: Callable[[], None]) -> None:
        """Make it, or take the one of the last run, with this version of Trap. Raises DemoError if that fails."""
        self._take()
        kept = self._whole.exists() and self.python.exists()
        if kept:
            try:
                self._install("pip", f"trap=={version}", tick)
                return
            except DemoError:  # a damaged one, or another Python: start again
                pass
        shutil.rmtree(self.place, ignore_errors=True)
        self.processes.finish("venv", [sys.executable, "-m", "venv", str(self.place)], tick)
        self._install("pip", f"trap=={version}", tick)

    def _take(self) -> None:
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(f"{self.place}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise DemoError(f"cannot use {self.place}: another run is using it; wait for it to end") from None

    def _install(self, name: str, requirement: str, tick: Callable[[], None]) -> None:
        self._whole.unlink(missing_ok=True)
        self.processes.finish(name, self._pip(requirement, CELERY), tick)
        self._whole.touch()

    def _pip(self, *requirements: str) -> list[str]:
        quiet = ("--disable-pip-version-check", "--no-input")
        return [str(self.python), "-m", "pip", "install", *quiet, *requirements]

    def upgrade(self, version: str) -> subprocess.Popen[bytes]:
        """Begin ``pip install trap==<version>`` in place. Call ``upgraded`` when the process has ended."""
        self._whole.unlink(missing_ok=True)
        return self.processes.start("upgrade", self._pip(f"trap=={version}"))

    def upgraded(self) -> None:
        """Raises DemoError if pip failed."""
        self.processes.must_have_succeeded("upgrade")
        self._whole.touch()

    def close(self) -> None:
        """Remove it if it is not whole. No pip may run any more."""
        if self._lock is None:
            return
        if not self._whole.exists():
            shutil.rmtree(self.place, ignore_errors=True)
        os.close(self._lock)
        self._lock = None
