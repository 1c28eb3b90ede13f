"""Results of PID 1's jobs. A result may come before the answer that names the job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

LOST = "lost"  # the result of a job whose end was missed


class Jobs:
    """Joins the answer to a call that makes a job with the signal that reports the job's end."""

    def __init__(self) -> None:
        self._calls = 0
        self._early: dict[str, str] = {}
        self._waiting: dict[str, asyncio.Future[str]] = {}

    async def begin(self, call: Awaitable[str]) -> asyncio.Future[str]:
        """Await ``call``, which gives the job's object path. The future gives the job's result: done, failed, ..."""
        self._calls += 1
        try:
            path = await call
            result = self._waiting.get(path)  # PID 1 merges two equal jobs into one
            if result is None:
                result = self._waiting[path] = asyncio.get_running_loop().create_future()
            if path in self._early:
                self.ended(path, self._early[path])
            return result
        finally:
            self._calls -= 1
            if not self._calls:
                self._early.clear()

    def ended(self, path: str, result: str) -> None:
        """Record the end of a job, which PID 1 has reported."""
        waiting = self._waiting.pop(path, None)
        if waiting is not None:
            waiting.set_result(result)
        elif self._calls:
            self._early[path] = result

    def give_up(self) -> None:
        """End all waits: the signals of jobs that are under way may have been missed."""
        for path in list(self._waiting):
            self.ended(path, LOST)
        self._early.clear()
