"""Workers as units of systemd."""

from __future__ import annotations

from trapd.backend.systemd.backend import SystemdBackend

__all__ = ["SystemdBackend"]
