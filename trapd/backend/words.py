"""What workers say, made fit to be shown: counts, last words, and an end told in words. Pure."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Sequence

from trapd.masking import mask
from trapd.model import Ailment

REFUSED = 78  # exit status, EX_CONFIG of sysexits.h: trapd-worker has nothing that it could become (worker/launch.py)
LAST_LINES = 20  # of the log, in a failure's detail
STACK_LINES = 60  # instead, if the log ends with Python's own account of a fatal error
TRACEBACK_LINES = 100  # of the log, if it ends with a traceback: its message may have many lines
_FATAL, _TRACEBACK = "Fatal Python error:", "Traceback (most recent call last):"
_ACTIVE = re.compile(r"(\d+) active")
# systemd tells in the line before "Failed at step NAMESPACE spawning PROGRAM: No such file" which file that is, mostly
# another one than PROGRAM. PID 1 may put a line of its own between the two.
_REASONS = (
    re.compile(r"(?m)^(?:\[.*?\] )?trapd-worker: (cannot .*)$"),
    re.compile(r"(?m)^\S+\.service: (.*)\n(?:.*\n)?\S+\.service: Failed at step .*$"),
    re.compile(r"(?m)^.*\b(Failed at step .*)$"),
)
_COUNTS = re.compile(r", \d+ (active|reserved)")
_STALLED = "main loop stalled"
_UNREACHABLE = re.compile(r"(broker|result backend|\w+) unreachable for ")


def active_tasks(status: str) -> int | None:
    """The number of running tasks that a worker's STATUS= tells, if it does."""
    found = _ACTIVE.search(status)
    return int(found[1]) if found else None


def without_counts(status: str) -> str:
    """What a worker's STATUS= tells beside the tasks that it has, of which it tells every second while they change."""
    return _COUNTS.sub("", status)


def ailment(status: str) -> Ailment | None:
    """What a worker says that keeps it from serving (worker/health.py), if it does."""
    if status.startswith(_STALLED):
        return Ailment.STALLED
    return Ailment.CUT_OFF if _UNREACHABLE.match(status) else None


def silence(watchdog: float) -> float:
    """Seconds without a sign of life after which a worker is called silent: it gives one in a third of the watchdog's
    time, and without a watchdog every 20 s."""
    return 0.6 * (watchdog or 60.0)


def hangs_on(stop_time: float = 0.0) -> str:
    """The status of a drain that is ended (B14); 0: after its unit's TimeoutStopSec=."""
    time = f"{stop_time:g} s" if stop_time else "its time to stop (TimeoutStopSec=)"
    return f"did not leave: no sign of life for {time} after its last task; ended"


def last_words(lines: Sequence[str]) -> str:
    """The end of a log, without passwords; the Python stack, or the whole of a traceback and its message, if it ends
    with one."""
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
    """How a run ended that never began, with the reason behind it: what trapd-worker, or else systemd, wrote of it."""
    for words in _REASONS:
        if found := words.findall(lines):
            return f"{summary}: {found[-1]}"
    return summary


def last_status(status: str) -> str:
    """To be put behind what became of a worker that did not answer."""
    return f"; its last words: {status}" if status else ""


def ending(exit_status: int | None, number: int, asked: bool) -> str:
    """How a process ended. ``exit_status``: minus the signal's number if it was killed, None if that is not known.

    ``number`` is the errno that it told before, or 0; ``asked`` says whether it was told to leave.
    """
    if exit_status is None:
        words = "ended"
    elif exit_status < 0:
        name = signal.Signals(-exit_status).name if -exit_status in set(signal.Signals) else f"signal {-exit_status}"
        words = f"was killed by {name}" + (", not by trapd: out of memory?" if name == "SIGKILL" else "")
    else:
        words = f"exited with status {exit_status}" + ("" if exit_status or asked else " without being asked to")
    return words + (f" ({errno.errorcode.get(number, number)})" if number else "")
