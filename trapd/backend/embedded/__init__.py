"""Workers as trapd's own child processes: no systemd needed."""

from __future__ import annotations

from trapd.backend.embedded.backend import EmbeddedBackend

__all__ = ["EmbeddedBackend"]
