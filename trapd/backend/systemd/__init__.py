"""The systemd backend; its parts are its own affair."""

from __future__ import annotations

from trapd.backend.systemd.backend import SystemdBackend

__all__ = ["SystemdBackend"]
