"""Trap's tasks. Importing this module imports Trap: see trapd.distribute.app."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded

from trapd.distribute import extraction, ledger, sight
from trapd.distribute.app import EXTRACT_SOURCES, EXTRACT_TABLE, FIT_POSITIONS, app

log = logging.getLogger("trapd.distribute")

_MOST_WARNINGS = 20  # of one image

_NODE = re.compile(r"[a-z][a-z0-9_]*-(?P<generation>[0-9]+)-[0-9]+@.*")  # default-7-1@host, as trapd names its workers

if os.environ.get(ledger.VARIABLE):
    ledger.keep(os.environ[ledger.VARIABLE], extraction.VERSION)


# Extracting the sources of an image again is harmless, so the message is acknowledged when the answer is stored: if the
# whole worker is killed, the broker delivers the image to another one. If only the child process is killed, the message
# is not given back: the broker would deliver it for ever, and an image that needs more memory than there is would kill
# one child after the other. The submitter gets WorkerLostError, and sends the image again a bounded number of times.
# Both are said here, because a celeryconfig with task_reject_on_worker_lost would otherwise decide.
_HOW: dict[str, Any] = {
    "bind": True,
    "shared": False,
    "acks_late": True,
    "acks_on_failure_or_timeout": True,
    "reject_on_worker_lost": False,
}


@app.task(name=EXTRACT_SOURCES, **_HOW)  # type: ignore[untyped-decorator]
def extract_sources(self: Task, path: str, **options: Any) -> dict[str, Any]:
    """Find the sources of one image with Trap's defaults, or with ``options`` of Trap's ``read_pyse_image``.

    An image that cannot be used has an answer, too: ``error`` has the reason (else it is None) and ``sources`` is
    empty. So a bad image makes neither the other tasks of its group fail nor the worker. Times are seconds since the
    epoch.
    """
    answer: dict[str, Any] = {"image": path, "error": None, "sources": [], "rejected": False, "rms": None, "meta": {}}
    return _answer(self, path, answer, lambda: extraction.extract(path, **options))


@app.task(name=EXTRACT_TABLE, **_HOW)  # type: ignore[untyped-decorator]
def extract_table(self: Task, path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Find the sources of one image, with the values and types that trap-run would have: see
    ``trapd.distribute.extraction.extract_table``.

    As ``extract_sources`` this answers for a bad image, too. ``unseen``: this worker cannot see the file, another one
    may. ``machine``: the image was not to blame. ``warnings``: what was logged meanwhile.
    """
    answer: dict[str, Any] = {"image": path, "error": None}
    return _heard(lambda: _answer(self, path, answer, lambda: extraction.extract_table(path, options)))


@app.task(name=FIT_POSITIONS, **_HOW)  # type: ignore[untyped-decorator]
def fit_positions(self: Task, path: str, options: dict[str, Any], positions: list[list[float]]) -> dict[str, Any]:
    """Measure one image at ``positions``: see ``trapd.distribute.extraction.fit_positions``."""
    answer: dict[str, Any] = {"image": path, "error": None}
    return _heard(lambda: _answer(self, path, answer, lambda: extraction.fit_positions(path, options, positions)))


def _answer(task: Task, path: str, answer: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return ``answer`` with the result of ``work`` or why there is none, and with who did it."""
    started = time.time()
    try:
        answer |= work()
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        log.warning("cannot extract sources from %s", path, exc_info=True)
        answer["error"] = reason(path, error)
        answer["unseen"] = isinstance(error, FileNotFoundError | PermissionError)
        answer["machine"] = not answer["unseen"] and _of_the_machine(error)
    node = task.request.hostname or ""
    name = _NODE.fullmatch(node)
    return answer | {
        "versions": dict(extraction.VERSIONS),
        "worker": node,
        "host": socket.gethostname(),
        "generation": int(name["generation"]) if name else None,
        "digest": extraction.DIGEST,
        "started": started,
        "finished": time.time(),
    }


def _of_the_machine(error: Exception) -> bool:
    """Whether the same image may be good a little later, or elsewhere: no memory, a disk or a server that fails. What a
    library finds wrong with a file has no number of the operating system."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def _heard(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the answer of ``work`` with the warnings that this thread logged meanwhile: the submitter of a run shows
    them to its user."""
    listener = _Listener()
    root = logging.getLogger()
    root.addHandler(listener)
    try:
        answer = work()
    finally:
        root.removeHandler(listener)
    return answer | {"warnings": listener.lines}


class _Listener(logging.Handler):
    """Keeps the warnings of its own thread, but for those of this module: they are in the answer's ``error``."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and record.name != log.name and len(self.lines) < _MOST_WARNINGS:
            self.lines.append(" ".join(record.getMessage().split()))


def reason(path: str, error: Exception) -> str:
    """Return why there are no sources, in one line."""
    if isinstance(error, OSError):
        return f"cannot read {path}: {sight.reason(path, error)}"
    words = " ".join(str(error).split()) or "no reason given"
    return f"cannot extract sources from {path}: {type(error).__name__}: {words}"
