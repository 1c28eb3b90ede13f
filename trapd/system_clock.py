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
    try:
        ticks = int(process_stat.fields(1)[process_stat.STARTED])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):  # /proc may be closed to other users (hidepid)
        return 0.0
    return max(0.0, time.monotonic() - age)
