"""Modules may be imported late, by a worker's main process too: is there a stray among them now? And what has reached
the worker by remote control since? And which messages does no worker know,
and which processes of its pool were killed?"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from trapd.masking import mask
from trapd.worker import report
from trapd.worker.aside import Aside
from trapd.worker.health import Health, Phase
from trapd.worker.job import Job
from trapd.worker.lost import Lost

Commands = list[dict[str, Any]]


class LateImports:
    """Keeps the report file up to date. ``look`` is called by the reporter's thread, before it speaks: a report with
    news is written before the status that tells of it. ``remote`` gives the remote commands that stand, ``taken``
    the word of tasks that others took, ``aside`` the messages that are set aside, ``lost`` the processes that were
    killed."""

    def __init__(
        self,
        job: Job,
        remote: Callable[[], Commands] = list,
        aside: Aside | None = None,
        lost: Lost | None = None,
        taken: Callable[[float], Commands] = lambda wall: [],
    ) -> None:
        self._job, self._remote, self._aside, self._lost = job, remote, aside or Aside(), lost or Lost()
        self._taken = taken
        self._modules = 0
        self._first: int | None = None  # distributions that were loaded when it became ready
        self._written: tuple[Commands, Commands, Commands] = ([], [], [])

    def look(self, health: Health) -> None:
        taken = self._taken(time.time())  # first: what comes after it is then no older than its word
        remote, aside, loaded = self._remote(), self._aside.told(), self._job.loaded
        told = [*remote, *taken], aside, self._lost.told()
        if health.phase is not Phase.READY:
            return
        if self._first is None:
            self._first = len(loaded.names)
        news = loaded.look()
        if len(sys.modules) == self._modules and told == self._written and not news:
            return
        self._modules = len(sys.modules)
        found = report.code_report(self._job, health.slots) | {"remote": told[0], "aside": aside, "lost": told[2]}
        if news or len(found["strays"]) != health.strays or told != self._written:
            report.write(self._job, found)
            self._written = told
            health.lost, health.taken = self._lost.processes, sum(one["tasks"] for one in taken)
            health.strays, health.remote, health.aside = len(found["strays"]), _latest(remote), self._aside.messages
            health.late, health.replaced = len(loaded.names) - self._first, len(loaded.replaced)


def _latest(remote: Commands) -> str:
    more = f" and {len(remote) - 1} more" if len(remote) > 1 else ""
    return mask(str(remote[-1]["command"])) + more if remote else ""
