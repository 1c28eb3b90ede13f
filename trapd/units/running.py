"""Which units run, without a question to PID 1, which keeps a link ``invocation:UNIT`` for each that does."""

from __future__ import annotations

from pathlib import Path

LINKS = Path("/run/systemd/units")
_WORKERS = "invocation:trapd-worker-*.service"


def workers(links: Path = LINKS) -> int:
    """How many workers systemd runs; 0 where there is no systemd."""
    return sum(1 for _ in links.glob(_WORKERS))
