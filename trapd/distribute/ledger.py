"""An execution ledger: the process that runs a task writes a line when the task begins, and one when it ends.

A result backend keeps one answer for each task, so it cannot show that a task ran twice; the ledger can. A worker keeps
one if ``TRAPD_LEDGER`` names a file. Each line is one write to a file opened for appending: lines of many processes
never mix, and SIGKILL leaves whole lines.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from celery import signals

VARIABLE = "TRAPD_LEDGER"


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a task. Times are seconds since the epoch; ``finished`` None: it has not ended."""

    task: str
    node: str
    pid: int
    version: str
    started: float
    finished: float | None = None


def keep(path: str, version: str) -> None:
    """Record every task that this process, or a child of it, runs from now on."""

    def write(what: str, task: Any, task_id: str) -> None:
        node, now = task.request.hostname or "", time.time()
        line = {"what": what, "task": task_id, "node": node, "pid": os.getpid(), "version": version, "at": now}
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)

    def begin(task: Any, task_id: str, **_: Any) -> None:
        write("begin", task, task_id)

    def end(task: Any, task_id: str, **_: Any) -> None:
        write("end", task, task_id)

    signals.task_prerun.connect(begin, weak=False)
    signals.task_postrun.connect(end, weak=False)


def read(lines: Iterable[str]) -> list[Run]:
    """Return every execution in these lines, in the order in which they began."""
    runs: list[Run] = []
    running: dict[tuple[str, int], int] = {}  # (task, pid) -> index: a process runs a task once at a time
    for line in lines:
        entry = json.loads(line)
        key = (entry["task"], entry["pid"])
        if entry["what"] == "begin":
            running[key] = len(runs)
            runs.append(Run(entry["task"], entry["node"], entry["pid"], entry["version"], entry["at"]))
        else:
            index = running.pop(key)
            runs[index] = replace(runs[index], finished=entry["at"])
    return runs
