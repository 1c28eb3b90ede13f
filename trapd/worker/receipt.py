"""The receipt of a drain: what became of each task that this worker held when it was asked to leave.

One line of JSON is appended for each task that is held, and one when the task has finished here or went back to the
broker; a task with the first line alone was still in this worker's hands when the worker ended, and nobody knows more.
Each line is in the kernel's hands at once, so that a SIGKILL in the drain takes none of them. A worker that holds
nothing writes no file, and before its drain a worker writes nothing.

    {"pid": 4711, "wall": 1767225600.0}
    {"held": "ID", "name": "proj.add"}
    {"finished": "ID", "name": "proj.add"}
    {"returned": "ID", "name": "proj.add"}

trapd reads the file when the worker is gone, writes it into the history, and removes it where it may. Under systemd the
folder is the workers' own, so a worker that starts removes the receipts that are older than a week.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from trapd.atomic import write_all
from trapd.worker.lines import log_line

KEPT = 7 * 86400.0  # s; so long may trapd be away
SUFFIX = ".receipt"


class Receipt:
    """Of one run of a worker. Written in the main thread, and with threads and greenlets in those that run tasks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.due = False  # a task that ends belongs into the receipt
        self._file: int | None = None
        self._broken = False
        self._held: dict[str, Any] = {}  # id -> Celery's request
        self._told: set[str] = set()  # ids of tasks that have finished or went back

    def begin(self, **_: Any) -> None:
        """The worker was asked to leave; a solo pool runs its task to the end before its drain begins."""
        self.due = True

    def hold(self, requests: Iterable[Any]) -> None:
        """The drain begins, and these are in the worker's hands."""
        self.due = True
        for request in requests:
            if request.id not in self._told:
                self._held[request.id] = request
                self._write("held", request.id, request.name)

    def ended(self, request: Any, *, back: bool) -> None:
        """A task has ended here. ``back``: its message goes back to the broker all the same."""
        self._tell("returned" if back or not request.acknowledged else "finished", request.id, request.name)

    def returned(self, message: Any) -> None:
        """A message went back to the broker."""
        headers = message.headers or {}
        id = headers.get("id") or message.properties.get("correlation_id")
        if id:
            self._tell("returned", str(id), str(headers.get("task") or ""))

    def close(self) -> None:
        """The worker exits in order: the broker takes back whatever was not acknowledged."""
        for id, request in self._held.items():
            if not request.acknowledged:
                self._tell("returned", id, request.name)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def tidy(self) -> None:
        """Remove old receipts of whichever worker."""
        old = time.time() - KEPT
        with suppress(OSError):
            for path in self._path.parent.glob(f"*{SUFFIX}"):
                with suppress(OSError):
                    if path.stat().st_mtime < old:
                        path.unlink()

    def _tell(self, what: str, id: str, name: str) -> None:
        if id not in self._told:
            self._told.add(id)
            self._write(what, id, name)

    def _write(self, what: str, id: str, name: str) -> None:
        if self._broken:
            return
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o640)
                _append(self._file, {"pid": os.getpid(), "wall": time.time()})
            _append(self._file, {what: id, "name": name})
        except OSError as error:
            self._broken = True
            log_line(f"cannot write {self._path}: {error}; what becomes of this drain's tasks is not known", "ERROR")


def _append(file: int, line: dict[str, Any]) -> None:
    write_all(file, json.dumps(line).encode() + b"\n")
