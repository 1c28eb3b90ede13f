"""Watches what is installed and says when a change to it has come to its end, whole."""

from trapd.watch.changes import Watch

__all__ = ["Watch"]
