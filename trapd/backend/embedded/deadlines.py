"""The deadline of each run. Time in which trapd itself stood still does not count against any run (B13).

trapd may be stopped (SIGSTOP, a debugger, a paused container) or starved for a minute. When it goes on, all deadlines
seem to have passed, and the signs of life may not even be in the socket, which holds ``net.unix.max_dgram_qlen``
messages, 10 by default. So if a timer comes late no run is ended, and if it comes in time trapd looks twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from trapd.backend.embedded.run import Run
from trapd.contracts import STANDSTILL

log = logging.getLogger("trapd.backend.embedded")
SECOND_LOOK = (
    2.0  # s until it; a worker that finds the socket full tries again after 0.1 s, and checks itself every 1 s
)


class Deadlines:
    """One timer for each run that has a deadline. ``over`` is called when it has passed while trapd itself was awake.

    ``runs`` gives all runs; ``receive`` reads the messages that have been sent up to now.
    """

    def __init__(
        self, runs: Callable[[], Iterable[Run]], receive: Callable[[], None], over: Callable[[Run], None]
    ) -> None:
        self._runs, self._receive, self._over = runs, receive, over
        self._loop = asyncio.get_running_loop()
        self.awake_since = 0.0  # the loop's time

    def give(self, run: Run, allowed: float) -> None:
        """Set the deadline of the run: ``allowed`` seconds from now, until it is prolonged; 0: no deadline."""
        self.drop(run)
        run.allowed = allowed
        if allowed:
            run.deadline = self._loop.time() + allowed
            self._arm(run)

    def drop(self, run: Run) -> None:
        run.allowed = 0.0
        if run.timer:
            run.timer.cancel()
            run.timer = None

    def _arm(self, run: Run) -> None:
        run.timer = self._loop.call_at(run.deadline, self._due, run, run.deadline)

    def _due(self, run: Run, meant: float, again: bool = False) -> None:
        run.timer = None
        late = self._loop.time() - meant
        self._receive()
        if not run.allowed or run.timer:  # the messages that ``receive`` read have moved the deadline
            return
        now = self._loop.time()
        if late > STANDSTILL:
            self._stood_still(late)
        elif now < run.deadline:
            self._arm(run)
        elif not again:
            later = now + min(SECOND_LOOK, run.allowed / 10)
            run.timer = self._loop.call_at(later, self._due, run, later, True)
        else:
            run.allowed = 0.0
            self._over(run)

    def _stood_still(self, late: float) -> None:
        log.warning("trapd itself stood still for %.0f s or more: all workers have their whole time once more", late)
        self.awake_since = self._loop.time()
        for run in self._runs():
            if run.allowed:
                self.give(run, run.allowed)
