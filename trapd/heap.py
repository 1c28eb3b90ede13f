"""Memory of this process that a large task needed and that nobody uses any more."""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """Let the system have it. The C library keeps it otherwise, for the next look or generation, hours later."""
    with contextlib.suppress(AttributeError):  # other C libraries than glibc have no such function
        ctypes.CDLL(None).malloc_trim(0)
