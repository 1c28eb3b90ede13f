"""Lines that trapd's own part of a worker writes, as whoever keeps them wants them: see trapd/worker/log_format.py.

Standard library only, and no logging: Celery's green pools have to patch before that is imported.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time

PRIORITY = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # syslog(3)


def kept_by_journal() -> bool:
    """Whether standard error leads to journald: systemd.exec(5), JOURNAL_STREAM is "device:inode" of that stream."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def marked(text: str, level: str) -> str:
    """The text with its priority at the begin of each line, as sd-daemon(3) has it."""
    return "\n".join(f"<{PRIORITY[level]}>{line}" for line in text.split("\n"))


def log_line(text: str, level: str = "INFO") -> None:
    """Write a line, also where Celery's log is not there yet, or no more. A line that cannot be written ends nobody."""
    text = f"trapd-worker: {text}"
    if kept_by_journal():
        text = marked(text, level)
    else:
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f",{int(now % 1 * 1000):03d}"
        text = f"[{stamp}: {level}/MainProcess] {text}"
    # past Celery, which makes warnings of what is written to its standard error
    stream = sys.stderr if isinstance(sys.stderr, io.TextIOBase) else sys.__stderr__
    with contextlib.suppress(OSError):
        print(text, file=stream, flush=True)
