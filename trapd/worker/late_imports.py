"""Modules may be imported late, by a worker's main process too: is there a stray among them now?"""

from __future__ import annotations

import sys

from trapd.worker import report
from trapd.worker.health import Health, Phase
from trapd.worker.job import Job


class LateImports:
    """Keeps the report file up to date. ``look`` is called by the reporter's thread, before it speaks: a report with
    a new stray is written before the status that tells of it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._modules = 0

    def look(self, health: Health) -> None:
        if health.phase is not Phase.READY or len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        found = report.code_report(self._job)
        if len(found["strays"]) != health.strays:
            report.write(self._job, found)
            health.strays = len(found["strays"])
