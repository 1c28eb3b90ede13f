"""What workers say, made fit to be shown: counts, last words, and an end told in words. Pure."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Sequence

from trapd.masking import mask

LAST_LINES = 20  # of the log, in a failure's detail
STACK_LINES = 60  # instead, if the log ends with Python's own account of a fatal error
_FATAL = "Fatal Python error:"
_ACTIVE = re.compile(r"(\d+) active")


def active_tasks(status: str) -> int | None:
    """The number of running tasks that a worker's STATUS= tells, if it does."""
    found = _ACTIVE.search(status)
    return int(found[1]) if found else None


def last_words(lines: Sequence[str]) -> str:
    """The end of a log, without passwords; the Python stack, if it ends with one."""
    fatal = next((at for at in reversed(range(len(lines))) if lines[at].startswith(_FATAL)), None)
    kept = lines[-LAST_LINES:] if fatal is None else lines[fatal : fatal + STACK_LINES]
    return mask("\n".join(kept))


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
