"""gevent and eventlet replace parts of the standard library, which has to come first of all.

Celery's own command line does it before anything is imported, and only for ``-P``. Where kombu is there before, its
sockets and locks are not theirs: on Redis the worker then stands still, under a worker_pool of the settings too.
"""

from __future__ import annotations

import os
import sys

# As they are before anything is replaced: for the one thread that has to run while greenlets do not.
from _thread import start_new_thread
from time import sleep

__all__ = ["POOLS", "begin_again_for", "patch", "sleep", "start_new_thread"]

POOLS = ("eventlet", "gevent")
_SPELT_OUT = {f"celery.concurrency.{pool}:TaskPool": pool for pool in POOLS}  # as Celery's settings may have it
_AGAIN = "TRAPD_GREEN_POOL"  # environment variable of a process that has begun again
_done = ""


def patch(celery_pool: str | None) -> None:
    """Before kombu, or anything of Celery that matters, is imported. Raises ImportError where there is no such library.

    ``celery_pool``: what trapd.toml says, None if that is left to Celery's settings, which are not loaded yet.
    """
    global _done
    pool = os.environ.pop(_AGAIN, None) or celery_pool
    if pool in POOLS:
        import celery

        celery.maybe_patch_concurrency(["worker", "-P", pool])
        _done = pool


def begin_again_for(pool: object) -> None:
    """Celery's settings are loaded, and name this Celery pool: if it is too late to patch, this process starts anew.

    It stays the process that its supervisor knows, and what tells of its parent's death stays too (prctl(2)).
    """
    pool = _SPELT_OUT.get(str(pool), pool)
    if pool in POOLS and pool != _done:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, _AGAIN: str(pool)})
