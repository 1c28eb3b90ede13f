"""Results that processes of the pool have written, and that the main thread does not read.

A worker whose main thread hangs in its drain, in a handler of the application's say, counts tasks as running that have
ended: it learns of an end only by reading the result. To read it here would take it away; to see that it is there is
enough. Standard library only, and of Celery's inner parts whatever is not there counts as nothing.
"""

from __future__ import annotations

import contextlib
import selectors
from typing import Any

MOST = 64  # processes; in a drain Celery reads one pipe after the other, each for up to 0.5 s


def unread(pool: Any) -> int:
    """Of how many processes a result waits now; 0 of a pool of another kind. From any thread."""
    count = 0
    with contextlib.suppress(AttributeError, TypeError, KeyError, ValueError, OSError):
        pipes = {process.outqR_fd for process in list(pool._pool._pool)}
        if len(pipes) <= MOST:
            with selectors.DefaultSelector() as selector:
                for pipe in pipes:
                    selector.register(pipe, selectors.EVENT_READ)
                count = len(selector.select(0))
    return count
