"""Messages whose task no worker knows: how many are set aside, by task, as the walks over the parking queues meet them.

Celery acknowledges such a message, logs an error, and it is gone. Here it stays in the parking queue, and the worker
reports it. Celery's loop writes, any thread reads: each value is replaced whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trapd.worker.poison import Poison

DISCARDED = ""  # the queue of messages for which the broker has no parking queue
_MOST = 100  # names that are told; of one application a few are missing, and a stranger may invent any number


@dataclass(frozen=True, slots=True)
class Count:
    """Of one task in one parking queue. ``since``: when the first was parked, in seconds since the epoch."""

    messages: int
    since: float


class Aside:
    """Of one worker."""

    def __init__(self, poison: Poison | None = None) -> None:
        """``poison``: tasks that are set aside beside them, for another reason."""
        self._poison = poison
        self._known: Mapping[tuple[str, str], Count] = {}  # queue and task

    def walked(self, queue: str, met: Mapping[str, Count], *, whole: bool) -> None:
        """``met``: what a walk over a parking queue has met; of a walk that was not ``whole`` there may be more."""
        known = {key: count for key, count in self._known.items() if key[0] != queue or not whole}
        for task, count in met.items():
            before = known.get((queue, task), count)
            known[queue, task] = Count(max(before.messages, count.messages), min(before.since, count.since))
        self._known = known

    def discarded(self, task: str, wall: float) -> None:
        """One more message could not be parked, and was discarded."""
        before = self._known.get((DISCARDED, task), Count(0, wall))
        self._known = {**self._known, (DISCARDED, task): Count(before.messages + 1, before.since)}

    @property
    def messages(self) -> int:
        poison = len(self._poison.told()) if self._poison is not None else 0
        return poison + sum(count.messages for count in self._known.values())

    def told(self) -> list[dict[str, Any]]:
        """In plain values, for the report: the tasks with most messages first."""
        found = sorted(self._known.items(), key=lambda item: (-item[1].messages, item[0]))[:_MOST]
        poison = self._poison.told() if self._poison is not None else []
        return poison + [
            {"queue": queue, "task": task, "messages": count.messages, "since": count.since}
            for (queue, task), count in found
        ]
