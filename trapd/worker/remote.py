"""What reached this worker by Celery's remote control and changes how it works until it ends.

``celery control rate_limit``, ``cancel_consumer``, ``pool_shrink`` and the like leave a worker that is not as it is
configured; its successor is again. Celery keeps no account of them. What was taken back is forgotten here too. Each
such command is a line in the log; Celery itself logs those about one task.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery.worker.control import Panel

from trapd.masking import mask
from trapd.worker.lines import log_line

# What says nothing of how the worker goes on: about one task, about events, or only asking.
_PASSING = (
    "revoke",
    "revoke_by_stamped_headers",
    "terminate",
    "election",
    "enable_events",
    "disable_events",
    "heartbeat",
)
_ENDS = "shutdown"


class Remote:
    """The commands that stand, oldest first. Celery's loop writes, any thread reads."""

    def __init__(self, ends: Callable[[str], None]) -> None:
        """``ends`` is called with the words for a command that ends the worker."""
        self._ends = ends
        self._lock = threading.Lock()
        self._standing: dict[tuple[str, str], tuple[str, float]] = {}
        self._processes = 0  # more than configured
        self._consumed: frozenset[str] | None = None  # queues, before anybody changed that

    def standing(self) -> list[dict[str, Any]]:
        """In plain values: ``command`` as it would be typed in Python, ``wall`` when it came."""
        with self._lock:
            return [{"command": command, "wall": wall} for command, wall in self._standing.values()]

    def listen(self) -> None:
        """Before the worker is made: its mailbox takes the commands as they are registered then."""
        for name, info in Panel.meta.items():
            if info.type == "control" and name not in _PASSING:
                handler = Panel.data[name]
                Panel.data[name] = self._noting(name, handler)
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
