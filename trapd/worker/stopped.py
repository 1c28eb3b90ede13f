"""Processes of Celery's prefork pool that stand stopped: by a signal (SIGSTOP and its like), or by a debugger.

From outside, one that was stopped inside a task looks like a task that takes long. The kernel knows better, so this is
no guess. Of what the process was in the midst of nothing is lost: it goes on as soon as somebody lets it.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from trapd.worker import consuming
from trapd.worker.lines import log_line
from trapd.worker.questions import TOGETHER
from trapd.worker.unfed import SLOW_LOOK

SIGNAL, DEBUGGER = "T", "t"  # the states in /proc/PID/stat
_BY = {SIGNAL: "a signal", DEBUGGER: "a debugger"}


class Stand(NamedTuple):
    """``used``: user and system time. If that grows, it runs between two looks: cpulimit stops a process many times a
    second, and so does strace."""

    state: str
    used: tuple[bytes, ...]
    seconds: float = 0.0  # that it was seen so


def read(process: int, proc: str = "/proc") -> Stand | None:
    """Return how it stands; None if it is not stopped. In 8 us: half as long as with pathlib."""
    with contextlib.suppress(OSError):
        file = os.open(f"{proc}/{process}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(file, 1024).rpartition(b")")[2].split()
        finally:
            os.close(file)
        if fields[:1] in ([b"T"], [b"t"]):
            return Stand(fields[0].decode(), tuple(fields[11:13]))
    return None


def processes(pool: Any) -> list[int]:
    """Return the processes of Celery's prefork pool; none of other pools."""
    with contextlib.suppress(AttributeError, TypeError):
        return [process.pid for process in list(pool._pool._pool) if process.pid]
    return []


class Stopped:
    """Of one worker's pool. From one thread. Times are seconds of CLOCK_MONOTONIC."""

    def __init__(self, read: Callable[[int], Stand | None] = read) -> None:
        self._read = read
        self._stands: dict[int, Stand] = {}
        self._looked, self._of = -math.inf, 0  # of how many processes there were at the last look
        self.trouble, self.since = "", 0.0

    def look(self, processes: Callable[[], Collection[int]], now: float) -> None:
        """Judge. While none is stopped, it looks twelve times in ``QUIET`` only."""
        if not self._stands and now - self._looked < consuming.QUIET / TOGETHER:
            return
        passed, self._looked = min(now - self._looked, SLOW_LOOK), now  # all may have been paused together meanwhile
        there = processes()
        seen = {process: stand for process in there if (stand := self._read(process)) is not None}
        for process, stand in seen.items():
            before = self._stands.get(process)
            if before is not None and before.used == stand.used:
                seen[process] = stand._replace(seconds=before.seconds + passed)
        self._stands, self._of = seen, len(there)
        self._judge(now)

    def resume(self, now: float) -> None:
        """It drains: let those go on that a signal has stopped for so long, as systemd does with what it stops, so that
        their tasks end. A debugger's are its own."""
        for process, stand in [*self._stands.items()]:
            if stand.state == SIGNAL and stand.seconds >= consuming.QUIET:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGCONT)
                    del self._stands[process]
                    log_line(f"process {process} was stopped for {stand.seconds:.0f} s: SIGCONT, so that it can leave")
        self._judge(now)

    def _judge(self, now: float) -> None:
        late = [stand for stand in self._stands.values() if stand.seconds >= consuming.QUIET]
        by = " and ".join(_BY[state] for state in sorted({stand.state for stand in late}))
        are = "is" if len(late) == 1 else "are"
        self.trouble = f"{len(late)} of {self._of} processes of its pool {are} stopped by {by}" if late else ""
        self.since = now - max((stand.seconds for stand in late), default=0.0)
