"""A worker's own account of its tasks: what trapd is answered on the task socket, in every phase."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import signals
from celery.worker import state

from trapd.task_table import TaskTable
from trapd.worker import counting, end_task, queues, signatures
from trapd.worker.abstention import Abstention
from trapd.worker.aside import Aside
from trapd.worker.consumption import Consumption
from trapd.worker.green import sleep
from trapd.worker.health import Reporter
from trapd.worker.job import Job
from trapd.worker.lines import log_line
from trapd.worker.lost import Lost
from trapd.worker.poison import AFTER, DROP, RETRY, Poison
from trapd.worker.receipt import Receipt
from trapd.worker.tally import Run, Tally
from trapd.worker.task_messages import TaskMessages
from trapd.worker.task_socket import TaskSocket

SCHEMA = 1
ORDER_PATIENCE = 5.0  # s that the end of a task may take
SPARE_ROWS = 16  # of the table, beside the tasks that the pool runs at a time: remote control may enlarge the pool


class OwnAccount:
    """Made before the application is loaded. ``answer`` is called in the socket's thread."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.tally, self.queues = Tally(), queues.Queues()
        self.abstention = Abstention()
        self.consumption = Consumption(self.tally, self.abstention)
        self.admitted = False  # trapd lets it serve
        self._messages = TaskMessages()
        limit = job.settings.get("poison_after", AFTER)
        self.poison = Poison(job.shared / ".poison", job.pool, job.host, limit)
        self.aside = Aside(self.poison)
        self.receipt = Receipt(job.receipt)
        self.lost = Lost()
        self._reporter: Reporter | None = None
        self._worker: Any = None
        self._registered: Mapping[str, str] | None = None
        self._socket = TaskSocket(job.task_socket, _users(job), self.answer)

    def open(self) -> None:
        """Answer from now on. A worker that cannot answer works all the same, and says so."""
        try:
            self._socket.open()
        except OSError as error:
            log_line(f"cannot listen on {self._job.task_socket}: {error}; trapd cannot show its tasks", "ERROR")

    def install(self, reporter: Reporter) -> None:
        """Before the worker is made."""
        self._reporter = reporter
        signals.worker_shutting_down.connect(self.receipt.begin, weak=False)
        counting.install(self.tally, self._killed, self.receipt)

    def begin(self, worker: Any) -> None:
        """The pool has started, and runs no task yet."""
        self._worker = worker
        self.consumption.begin(worker)
        slots = max(worker.pool.num_processes or 0, worker.max_concurrency or 0)
        self.poison.recall(self._job.task_table)
        self.receipt.tidy()
        try:
            self.tally.rows = TaskTable(self._job.task_table, slots + SPARE_ROWS)
        except OSError as error:
            log_line(f"cannot write {self._job.task_table}: {error}; what SIGKILL ends is not known then", "ERROR")

    def close(self) -> None:
        """The worker has drained, and exits."""
        self._socket.remove()
        self.receipt.close()
        if isinstance(self.tally.rows, TaskTable):
            self.tally.rows.remove()

    def _killed(self, id: str, name: str, why: str) -> None:
        self.poison.killed(id, name)
        self.lost.add(id, name, why)

    # --- in the socket's thread ---

    def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        match question:
            case {"ask": "tasks"}:
                if "abstain" in question:
                    self.abstention.ask(question["abstain"] is True)
                return {**self._head(), **self._tasks(), **self._retrials(question.get("retrials"))}
            case {"ask": "registered"} if self._worker is not None:
                if self._registered is None:
                    self._registered = signatures.registered(self._worker.app)
                return {**self._head(), "registered": dict(self._registered)}
            case {"interrupt": "tasks"}:
                return {**self._head(), "interrupted": end_task.interrupt(self._worker, self.tally)}
            case {"ask": "waiting", "tasks": list(names)} if self._worker is not None:
                return {**self._head(), "waiting": self._messages.look(self._worker, [str(name) for name in names])}
            case {"serve": True} if self._worker is not None:
                self.admitted = True
                return {**self._head(), "done": "it serves"}
            case {"poison": str(order), "id": str(id)} if order in (RETRY, DROP):
                return {**self._head(), **self._order(order, id)}
            case {"end": str(id), "now": bool(now)}:
                return {**self._head(), **self._end(id, now)}
            case _:
                return {**self._head(), "error": "cannot answer that question"}

    def _head(self) -> dict[str, Any]:
        phase = self._reporter.health.phase.value if self._reporter else "importing"
        return {
            "schema": SCHEMA,
            "instance": self._job.instance,
            "pid": os.getpid(),
            "generation": self._job.number,
            "phase": phase,
            "wall": time.time(),
        }

    def _tasks(self) -> dict[str, Any]:
        return {
            "running": [found for run in self.tally.running() if (found := self._running(run))],
            "tasks": {name: counts.plain() for name, counts in self.tally.counts().items()},
            "delivered": self.tally.delivered,
            "queues": queues.consumed(self._worker),
            "reserved": max(0, len(state.reserved_requests) - len(state.active_requests)),
        }

    def _retrials(self, marks: Any) -> dict[str, Any]:
        """Begins the retrials that trapd names, by task name with a mark, and ends all others."""
        if not isinstance(marks, dict):
            return {}
        found = self.tally.retrials({str(name): str(mark) for name, mark in marks.items()})
        compared = self.tally.compared()
        return {
            "retrials": {name: counts.plain() for name, counts in found.items()},
            "compared": {name: counts.plain() for name, counts in compared.items()},
        }

    def _running(self, run: Run) -> dict[str, Any] | None:
        request = run.request
        if request is None:  # it has just ended
            return None
        return {"id": request.id, "name": run.name, "since": run.since, "queue": self.queues.of(request.message)}

    def _order(self, order: str, id: str) -> dict[str, Any]:
        try:
            return {"done": f"{self.poison.order(id, order)} in a moment"}
        except KeyError:
            return {"error": "no task of this id is set aside on this host"}

    def _end(self, id: str, now: bool) -> dict[str, Any]:
        if self._worker is None or self._reporter is None:
            return {"error": "it does not run here and does not wait here"}
        told: list[dict[str, str]] = []

        def act() -> None:
            try:
                told.append({"done": end_task.end(self._worker, self.tally, id, now=now)})
            except end_task.CannotEndError as error:
                told.append({"error": str(error)})
            except Exception as error:  # of whatever Celery has become
                told.append({"error": f"{type(error).__name__}: {error}"})

        self._reporter.soon(act)
        return _wait_for(told) or {"error": f"nothing in this worker has answered within {ORDER_PATIENCE:g} s"}


def _wait_for(told: list[dict[str, str]], now: Callable[[], float] = time.monotonic) -> dict[str, str] | None:
    deadline = now() + ORDER_PATIENCE
    while not told:
        if now() > deadline:
            return None
        sleep(0.005)
    return told[0]


def _users(job: Job) -> set[int]:
    """root, the workers' own user, and trapd: the owner of the generation. Where the worker's unit has PrivateUsers=,
    every other user looks like nobody to the kernel's answer, trapd as well; then the rights of the file decide."""
    return {0, os.geteuid(), job.generation.stat().st_uid}
