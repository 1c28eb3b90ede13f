"""When this worker may ask its broker for the messages in its queues: for each queue once a minute at most. Pure; times
are seconds of CLOCK_MONOTONIC.

Each queue has a minute of its own: one that falls silent just after another one was asked for would wait for the next
minute twice, and be missed for three.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from trapd.worker import consuming

TOGETHER = 12  # of QUIET: a question comes so much of it after the last one, with all queues that are due then


class Questions:
    """Of one worker. One thread calls ``due`` and ``asked``; ``answered`` is called before the next question."""

    def __init__(self) -> None:
        self._at = -math.inf  # the last question
        self._asked: dict[str, float] = {}  # queue -> when it was last asked for
        self._found: dict[str, int] = {}  # messages in each of them, as of then

    def due(self, consumed: Collection[str], lost: Collection[str], now: float, *, idle: bool) -> list[str] | None:
        """The queues to ask for now; None: no question. ``idle``: nothing came from any queue, and it is time to know
        about all of them; ``lost``: those that gave nothing, while others gave."""
        wanted = consumed if idle else lost
        found = [name for name in wanted if now - self._asked.get(name, -math.inf) >= consuming.QUIET]
        if not (idle or found) or now - self._at < consuming.QUIET / TOGETHER:
            return None
        return found

    def asked(self, queues: Collection[str], now: float) -> None:
        self._at = now
        self._asked.update(dict.fromkeys(queues, now))

    def answered(self, waiting: Mapping[str, int] | None, asked: Collection[str]) -> Mapping[str, int] | None:
        """Return what is known of all queues that were ever asked for, of the others as of the minute before.
        ``waiting``: see Consuming.answered, of ``asked`` alone."""
        if waiting is None:
            self._found.clear()
            return None
        self._found.update({name: waiting.get(name, 0) for name in asked})
        return {name: count for name, count in self._found.items() if count}
