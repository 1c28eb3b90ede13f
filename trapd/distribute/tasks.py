"""Trap's tasks. Importing this module imports Trap: see trapd.distribute.app."""

from __future__ import annotations

import logging
import os
import re
import time
from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded

from trapd.distribute import extraction, ledger, sight
from trapd.distribute.app import EXTRACT_SOURCES, app

log = logging.getLogger("trapd.distribute")

_NODE = re.compile(r"[a-z][a-z0-9_]*-(?P<generation>[0-9]+)-[0-9]+@.*")  # default-7-1@host, as trapd names its workers

if os.environ.get(ledger.VARIABLE):
    ledger.keep(os.environ[ledger.VARIABLE], extraction.VERSION)


# Extracting the sources of an image again is harmless, so the message is acknowledged when the answer is stored: if the
# whole worker is killed, the broker delivers the image to another one. If only the child process is killed, the message
# is not given back: the broker would deliver it for ever, and an image that needs more memory than there is would kill
# one child after the other. The submitter gets WorkerLostError, and sends the image again a bounded number of times.
# Both are said here, because a celeryconfig with task_reject_on_worker_lost would otherwise decide.
@app.task(  # type: ignore[untyped-decorator]
    name=EXTRACT_SOURCES,
    bind=True,
    shared=False,
    acks_late=True,
    acks_on_failure_or_timeout=True,
    reject_on_worker_lost=False,
)
def extract_sources(self: Task, path: str, **options: Any) -> dict[str, Any]:
    """Find the sources of one image with Trap's defaults, or with ``options`` of Trap's ``read_pyse_image``.

    An image that cannot be used has an answer, too: ``error`` has the reason (else it is None) and ``sources`` is
    empty. So a bad image makes neither the other tasks of its group fail nor the worker. Times are seconds since the
    epoch.
    """
    started = time.time()
    answer: dict[str, Any] = {"image": path, "error": None, "sources": [], "rejected": False, "rms": None, "meta": {}}
    try:
        answer |= extraction.extract(path, **options)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        log.warning("cannot extract sources from %s", path, exc_info=True)
        answer["error"] = reason(path, error)
    node = self.request.hostname or ""
    name = _NODE.fullmatch(node)
    return answer | {
        "versions": dict(extraction.VERSIONS),
        "worker": node,
        "generation": int(name["generation"]) if name else None,
        "digest": extraction.DIGEST,
        "started": started,
        "finished": time.time(),
    }


def reason(path: str, error: Exception) -> str:
    """Return why there are no sources, in one line."""
    if isinstance(error, OSError):
        return f"cannot read {path}: {sight.reason(path, error)}"
    words = " ".join(str(error).split()) or "no reason given"
    return f"cannot extract sources from {path}: {type(error).__name__}: {words}"
