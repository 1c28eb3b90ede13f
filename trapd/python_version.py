"""Which Pythons a worker runs on. It is the application's interpreter, whatever the one of trapd is."""

from __future__ import annotations

import re
import subprocess

OLDEST = (3, 11)  # the first with -P, which keeps the folder of a script and the current one off the import path
_PATIENCE = 10.0  # s; it takes 2 ms


def too_old(python: str) -> str:
    """Why no worker can run on this interpreter; "" if its version is no reason, or is not to be had."""
    try:
        done = subprocess.run([python, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return ""
    words = (done.stdout + done.stderr).decode(errors="replace")  # Python 2 writes its version to standard error
    version = re.match(r"Python ((\d+)\.(\d+)\S*)", words)
    if version is None or (int(version[2]), int(version[3])) >= OLDEST:
        return ""
    return f"it is Python {version[1]}, and a worker needs {'.'.join(map(str, OLDEST))} or later"
