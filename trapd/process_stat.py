"""What the kernel says of a process in /proc/PID/stat (proc(5))."""

from __future__ import annotations

from pathlib import Path

PARENT, STARTED = 1, 19  # places in ``fields``: process id of the parent; clock ticks from the boot to the start


def fields(process: int, proc: Path = Path("/proc")) -> list[str]:
    """Everything after the process's name, the state first. Raises OSError: the process is gone, or not to be seen."""
    text = (proc / str(process) / "stat").read_text("utf-8", "replace")
    return text.rpartition(")")[2].split()  # the name in parentheses may contain any character
