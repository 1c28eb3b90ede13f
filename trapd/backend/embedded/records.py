"""The files of each instance: its process (for the trapd that starts after this one was killed), its report, its log.
Every function here reads or writes files: call them off the loop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Container, Iterator
from pathlib import Path

from trapd import atomic
from trapd.backend import reports, words
from trapd.backend.embedded import spawn
from trapd.backend.reports import Report
from trapd.layout import Runtime
from trapd.model import InstanceId

log = logging.getLogger("trapd.backend.embedded")
_TAIL = 32 * 1024  # bytes that are read at the end of a log
_LOGS_KEPT = 100
_KEPT = 7 * 86400.0  # s, as long as a worker keeps receipts (worker/receipt.py)
LOG_LIMIT = 32 * 1024 * 1024  # bytes


class Records:
    """The files of all instances, in ``<runtime>/instances`` and the folder for logs."""

    def __init__(self, runtime: Path, logs: Path) -> None:
        self._runtime, self.logs = Runtime(runtime), logs
        self.instances = self._runtime.instances

    def make_folders(self) -> None:
        self.instances.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)

    # -- its process -----------------------------------------------------------------------------------------------

    def note(self, id: InstanceId, pid: int) -> None:
        """Record its main process for the next trapd."""
        # not lasting: after a reboot the process is gone
        atomic.write(self._runtime.process(id.name), f"{pid} {spawn.start_time(pid)}\n", lasting=False)

    def adopt(self) -> Iterator[tuple[InstanceId, spawn.Process]]:
        """Yield the instances of an earlier trapd that still run. Remove the files of all others."""
        for path in sorted(self.instances.glob("*.pid")):
            try:
                id = InstanceId.parse(path.stem)
                pid, started = (int(word) for word in path.read_text().split())
                process = spawn.adopt(pid, started)
            except ValueError:  # not a file of trapd's, or half written: it names no process
                process = None
            if process:
                yield id, process
            else:
                path.unlink(missing_ok=True)
        for path in [*self.instances.glob("*.json"), *self.instances.glob("*.sock")]:
            if not path.with_suffix(".pid").exists():
                path.unlink(missing_ok=True)
        for path in [*self.instances.glob("*.tasks"), *self.instances.glob("*.receipt")]:
            # of a worker that ended while no trapd ran: the controller reads and removes them, if it knows the worker
            if not path.with_suffix(".pid").exists() and _age(path) < time.time() - _KEPT:
                path.unlink(missing_ok=True)

    def remove(self, id: InstanceId, *, keep_tasks: bool = False) -> None:
        """Remove the files of an instance. One that cannot be removed is logged; its readers see that it is old.

        ``keep_tasks``: leave the tasks that it ran when it was killed, and the receipt of its drain."""
        runtime, name = self._runtime, id.name
        own = [runtime.process(name), runtime.report(name), runtime.task_socket(name)]
        for path in own if keep_tasks else [*own, runtime.task_table(name), runtime.receipt(name)]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.error("cannot remove what %s left: %s", id, error)

    # -- its report and its log ------------------------------------------------------------------------------------

    def report(self, id: InstanceId, pid: int) -> Report | None:
        """Return its report, if the file is complete and of this process."""
        return reports.read(self._runtime.report(id.name), pid)

    def log(self, id: InstanceId) -> Path:
        """Return the path of its log."""
        return self.logs / f"{id.name}.log"

    def open_log(self, id: InstanceId, running: Container[str] = ()) -> int:
        """Open the log of a new run and return its descriptor; the log of the run before stays as ``<name>.log.1``.

        The oldest logs are removed, because every generation brings new names; but not those of ``running`` instances.
        If there can be no log, as on a full or read-only disk, the worker starts without one.
        """
        try:
            return self._open_log(self.log(id), running)
        except OSError as error:
            log.error("cannot log what %s prints: %s: %s", id, error.filename, (error.strerror or str(error)).lower())
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def _open_log(self, path: Path, running: Container[str]) -> int:
        self.logs.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        logs = sorted(self.logs.glob("*.log*"), key=_age, reverse=True)
        for old in logs[_LOGS_KEPT:]:
            if old.name.partition(".")[0] not in running:
                old.unlink(missing_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def trim_log(self, id: InstanceId) -> None:
        """Move the lines of a log that is too long to ``<name>.log.1``, and go on with an empty log.

        The worker holds the file open, so the file is copied and emptied; lines that are written in between are lost.
        If there is no room for a copy, the log grows until there is.
        """
        path = self.log(id)
        with contextlib.suppress(OSError):
            if path.stat().st_size > LOG_LIMIT:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)

    def last_words(self, id: InstanceId) -> str:
        """Return the end of its log, without passwords: see backend/words.py."""
        try:
            with self.log(id).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return words.last_words(lines)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
