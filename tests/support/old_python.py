"""What a Python that is too old for a worker answers, for tests on machines that have none."""

from __future__ import annotations

from pathlib import Path

_SCRIPT = """#!/bin/sh
[ "$1" = --version ] && { echo "Python VERSION"; exit 0; }
echo "Unknown option: $1" >&2
exit 2
"""


def old_python(path: Path, version: str) -> Path:
    """A program that knows its version, and no option else: the -P of a worker's command line is of 3.11."""
    path.write_text(_SCRIPT.replace("VERSION", version))
    path.chmod(0o755)
    return path
