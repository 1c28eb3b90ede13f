"""Words about workers for users: counts from a status, the end of a log, how a process ended. Pure."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Sequence

from trapd.masking import mask
from trapd.model import Ailment

REFUSED = 78  # exit status, EX_CONFIG of sysexits.h: trapd-worker found no generation to run (worker/launch.py)
LAST_LINES = 20  # of the log, in the detail of a failure
STACK_LINES = 60  # instead, if the log ends with Python's own report of a fatal error
TRACEBACK_LINES = 100  # instead, if the log ends with a traceback: its message may have many lines
_FATAL, _TRACEBACK = "Fatal Python error:", "Traceback (most recent call last):"
_ACTIVE = re.compile(r"(\d+) active")
# systemd tells in the line before "Failed at step NAMESPACE spawning PROGRAM: No such file" which file that is, mostly
# another one than PROGRAM. PID 1 may put a line of its own between the two.
_REASONS = (
    re.compile(r"(?m)^(?:\[.*?\] )?trapd-worker: (cannot .*)$"),
    re.compile(r"(?m)^\S+\.service: (.*)\n(?:.*\n)?\S+\.service: Failed at step .*$"),
    re.compile(r"(?m)^.*\b(Failed at step .*)$"),
)
_UNIT_ROOT = "/run/systemd/unit-root"  # where systemd 252 prepares what the unit sees; 257 leaves it out
_COUNTS = re.compile(r", \d+ (active|reserved)")
_STALLED, _IDLE, _OUTGROWN = "main loop stalled", "not consuming for ", ", more than max_memory"
_UNREACHABLE = re.compile(r"(broker|result backend|\w+) unreachable for ")


def active_tasks(status: str) -> int | None:
    """Return the number of running tasks in a worker's STATUS=, or None."""
    count = _ACTIVE.search(status)
    return int(count[1]) if count else None


def without_counts(status: str) -> str:
    """Return a worker's STATUS= without the numbers of its tasks, which may change every second."""
    return _COUNTS.sub("", status)


def ailment(status: str) -> Ailment | None:
    """Return the ailment that a worker reports in its STATUS= (worker/health.py), or None."""
    if status.startswith(_STALLED):
        return Ailment.STALLED
    if status.startswith(_IDLE):
        return Ailment.IDLE
    if _OUTGROWN in status:
        return Ailment.OUTGROWN
    return Ailment.CUT_OFF if _UNREACHABLE.match(status) else None


def silence(watchdog: float) -> float:
    """Return the seconds without a sign of life after which a worker counts as silent. A worker gives a sign of life
    three times in the watchdog's time, and every 20 s without a watchdog."""
    return 0.6 * (watchdog or 60.0)


def hangs_on(stop_time: float = 0.0) -> str:
    """Return the status of a drain that trapd or systemd ends (B14); 0: after its unit's TimeoutStopSec=."""
    time = f"{stop_time:g} s" if stop_time else "its time to stop (TimeoutStopSec=)"
    return f"did not leave: no sign of life for {time}; ended"


def last_words(lines: Sequence[str]) -> str:
    """Return the end of a log, without passwords: if the log ends with a Python stack or a traceback, all of that."""
    fatal = _last(lines, _FATAL)
    if fatal is not None:
        return mask("\n".join(lines[fatal : fatal + STACK_LINES]))
    traceback = _last(lines, _TRACEBACK)
    begin = max(0, len(lines) - LAST_LINES)
    if traceback is not None and len(lines) - traceback <= TRACEBACK_LINES:
        begin = min(begin, traceback)
    return mask("\n".join(lines[begin:]))


def _last(lines: Sequence[str], words: str) -> int | None:
    return next((at for at in reversed(range(len(lines))) if lines[at].startswith(words)), None)


def with_reason(summary: str, lines: str) -> str:
    """Return the summary of a run that never began, with the reason that trapd-worker, or else systemd, has logged."""
    for words in _REASONS:
        if reasons := words.findall(lines):
            return f"{summary}: {reasons[-1].replace(_UNIT_ROOT, '')}"
    return summary


def last_status(status: str) -> str:
    """Return the addition to the summary of a worker that gave no sign of life: its last STATUS=, if there was one."""
    return f"; its last status: {status}" if status else ""


OUT_OF_MEMORY = "was killed by the kernel: out of memory"


def ending(exit_status: int | None, number: int, asked: bool) -> str:
    """Return how a process ended. ``exit_status``: minus the signal's number if it was killed, None if not known.

    ``number``: the errno that the process sent before, or 0. ``asked``: whether the process was asked to exit.
    """
    if exit_status is None:
        words = "ended"
    elif exit_status < 0:
        name = signal.Signals(-exit_status).name if -exit_status in set(signal.Signals) else f"signal {-exit_status}"
        words = f"was killed by {name}" + (", not by trapd: out of memory?" if name == "SIGKILL" else "")
    else:
        words = f"exited with status {exit_status}" + ("" if exit_status or asked else " without being asked to")
    return words + (f" ({errno.errorcode.get(number, number)})" if number else "")
