"""The clocks of this machine, and when the machine was started by them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from trapd import process_stat
from trapd.contracts import Clock

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


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


def boot() -> str:
    """Which start of this machine it is, whatever the clock on the wall says: the kernel's id of its boot, and the
    start of PID 1, since a container may have the id of its host. Either is empty if it is not known."""
    try:
        id = _BOOT_ID.read_text().strip()
    except OSError:
        id = ""
    ticks = _started()
    return f"{id} {'' if ticks is None else ticks}"


def same_boot(before: str, now: str) -> bool | None:
    """Is the machine that of ``before`` (of ``boot``), not started since? None if that is not known."""
    (id, _, started), (id_now, _, started_now) = before.partition(" "), now.partition(" ")
    if not id or not id_now:
        return None
    return id == id_now and (started == started_now or not started or not started_now)


def _age() -> float | None:
    """Of PID 1, in seconds; None if that is not known."""
    ticks = _started()
    return None if ticks is None else time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _started() -> int | None:
    """When PID 1 was started, in the kernel's ticks; None if that is not known."""
    try:
        return int(process_stat.fields(1)[process_stat.STARTED])
    except (OSError, ValueError, IndexError):  # /proc may be closed to other users (hidepid)
        return None
