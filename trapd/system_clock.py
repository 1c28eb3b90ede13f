"""The clocks of this machine, and when the machine was started by them."""

from __future__ import annotations

import os
import time

from trapd import process_stat
from trapd.contracts import Clock


class SystemClock(Clock):
    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def booted() -> float:
    """When PID 1 was started, in seconds of CLOCK_MONOTONIC: 0, but in a container that clock does not begin anew."""
    age = _age()
    return 0.0 if age is None else max(0.0, time.monotonic() - age)


def started() -> float:
    """When PID 1 was started, in seconds since the epoch; 0 if that is not known. CLOCK_MONOTONIC leaves out the time
    in which the machine was suspended."""
    age = _age()
    return 0.0 if age is None else time.time() - age


def _age() -> float | None:
    """Of PID 1, in seconds; None if that is not known."""
    try:
        ticks = int(process_stat.fields(1)[process_stat.STARTED])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):  # /proc may be closed to other users (hidepid)
        return None
