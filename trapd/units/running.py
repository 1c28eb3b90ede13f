"""The units that run, from files alone: PID 1 keeps a link ``invocation:UNIT`` for each unit that runs."""

from __future__ import annotations

from pathlib import Path

LINKS = Path("/run/systemd/units")
_WORKERS = "invocation:trapd-worker-*.service"


def workers(links: Path = LINKS) -> int:
    """Return how many workers systemd runs; 0 if there is no systemd."""
    return sum(1 for _ in links.glob(_WORKERS))
