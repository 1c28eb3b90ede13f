"""The versions of Python that a worker can run on: those of the application's interpreter, not of trapd's."""

from __future__ import annotations

import re
import subprocess

OLDEST = (3, 11)  # the first with -P, which keeps the folder of a script and the current one off the import path
_PATIENCE = 10.0  # s; it takes 2 ms


def too_old(python: str) -> str:
    """Return why no worker can run on this interpreter; "" if its version is new enough, or cannot be found out."""
    try:
        done = subprocess.run([python, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return ""
    words = (done.stdout + done.stderr).decode(errors="replace")  # Python 2 writes its version to standard error
    version = re.match(r"Python ((\d+)\.(\d+)\S*)", words)
    if version is None or (int(version[2]), int(version[3])) >= OLDEST:
        return ""
    return f"it is Python {version[1]}, and a worker needs {'.'.join(map(str, OLDEST))} or later"
