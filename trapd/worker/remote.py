"""What reached this worker by Celery's remote control and changes how it works until it ends, or takes tasks from it.

``celery control rate_limit``, ``cancel_consumer``, ``pool_shrink`` and the like leave a worker that is not as it is
configured; its successor is again. Celery keeps no account of them. What was taken back is forgotten here too. Each
such command is a line in the log. Of revoked and terminated tasks there is a word a minute at most, for a program may
revoke thousands; Celery logs each, at level INFO.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery.worker.control import Panel

from trapd.masking import mask
from trapd.sizes import counted
from trapd.worker.lines import log_line

_TAKES_TASKS = ("revoke", "revoke_by_stamped_headers", "terminate")
# What says nothing of how the worker goes on: about events, or only asking.
_PASSING = ("election", "enable_events", "disable_events", "heartbeat")
_ENDS = "shutdown"
TAKEN_EVERY = 60.0  # s between two words of tasks that were taken


class Remote:
    """The commands that stand, oldest first. Celery's loop writes, any thread reads."""

    def __init__(self, ends: Callable[[str], None]) -> None:
        """``ends`` is called with the words for a command that ends the worker."""
        self._ends = ends
        self._lock = threading.Lock()
        self._standing: dict[tuple[str, str], tuple[str, float]] = {}
        self._processes = 0  # more than configured
        self._consumed: frozenset[str] | None = None  # queues, before anybody changed that
        self._taken, self._taken_by = 0, ""  # tasks since the last word of them, and the last command
        self._told_taken: tuple[str, float, int] | None = None  # the last word, when, of how many tasks up to then

    def standing(self) -> list[dict[str, Any]]:
        """In plain values: ``command`` as it would be typed in Python, ``wall`` when it came."""
        with self._lock:
            return [{"command": command, "wall": wall} for command, wall in self._standing.values()]

    def taken(self, wall: float) -> list[dict[str, Any]]:
        """The last word of tasks that were revoked or terminated, as in ``standing``, if there is one; ``tasks``: how
        many up to now. A new one comes ``TAKEN_EVERY`` after the one before, or when the clock was set back."""
        with self._lock:
            before = self._told_taken
            if self._taken and (before is None or not 0 <= wall - before[1] < TAKEN_EVERY):
                words = self._taken_by
                if self._taken > 1:
                    words = f"{counted(self._taken, 'task')} revoked or terminated, the last by {words}"
                log_line(f"by remote control: {mask(words)}", "WARNING")
                self._told_taken = words, wall, self._taken + (before[2] if before else 0)
                self._taken = 0
            told = self._told_taken
            return [] if told is None else [{"command": told[0], "wall": told[1], "tasks": told[2]}]

    def listen(self) -> None:
        """Before the worker is made: its mailbox takes the commands as they are registered then."""
        for name, info in Panel.meta.items():
            if info.type == "control" and name not in _PASSING:
                handler = Panel.data[name]
                noting = self._counting if name in _TAKES_TASKS else self._noting
                Panel.data[name] = noting(name, handler)
                if info.alias:
                    Panel.data[info.alias] = Panel.data[name]

    def _noting(self, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def noting(state: Any, **arguments: Any) -> Any:
            if name == _ENDS:  # before it is obeyed: that raises
                log_line(f"{_ENDS} by remote control", "WARNING")
                self._ends(f"{_ENDS} by remote control")
            before = self._queues(state)
            answer = handler(state, **arguments)
            if not (isinstance(answer, Mapping) and "error" in answer):
                self.note(name, arguments, before)
            return answer

        return noting

    def _counting(self, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def counting(state: Any, **arguments: Any) -> Any:
            answer = handler(state, **arguments)
            ids = arguments.get("task_id")  # one, or several; none where headers name the tasks
            several = [ids] if ids is None or isinstance(ids, str) else list(ids)
            if several and not (isinstance(answer, Mapping) and "error" in answer):
                with self._lock:
                    self._taken += len(several)
                    verb = "terminate" if name == "terminate" or arguments.get("terminate") else "revoke"
                    self._taken_by = f"{verb}({arguments.get('headers') if ids is None else several[-1]!r})"
            return answer

        return counting

    def _queues(self, state: Any) -> frozenset[str]:
        if self._consumed is None:
            consumer = state.consumer.task_consumer
            self._consumed = frozenset(queue.name for queue in consumer.queues) if consumer else frozenset()
        return self._consumed

    def note(self, name: str, arguments: Mapping[str, Any], consumed: frozenset[str]) -> None:
        """It was done. ``consumed``: the queues that this worker was started with."""
        words = f"{name}({', '.join(repr(value) for value in arguments.values() if value is not None)})"
        log_line(f"changed by remote control: {mask(words)}", "WARNING")
        with self._lock:
            key, back = self._of(name, arguments, consumed)
            self._standing.pop(key, None)
            if not back:
                self._standing[key] = words, time.time()

    def _of(self, name: str, arguments: Mapping[str, Any], consumed: frozenset[str]) -> tuple[tuple[str, str], bool]:
        """What it is about, and whether all is as it was before."""
        match name:
            case "add_consumer" | "cancel_consumer":
                queue = str(arguments.get("queue"))
                return ("queue", queue), (name == "add_consumer") == (queue in consumed)
            case "pool_grow" | "pool_shrink":
                self._processes += int(arguments.get("n") or 1) * (1 if name == "pool_grow" else -1)
                return ("pool", ""), self._processes == 0
            case "rate_limit" | "time_limit":
                return (name, str(arguments.get("task_name"))), False
            case _:
                return (name, ""), False
