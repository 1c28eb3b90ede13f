"""The receipts of drains, and what else ended workers had: from the events of their ends."""

from __future__ import annotations

from collections.abc import Sequence

from trapd.contracts import History
from trapd.control import documents
from trapd.event import Became, Event, EventKind
from trapd.model import Rollout

_ENDS = 500  # of one rollout or worker


def drains(history: History, rollouts: Sequence[Rollout]) -> list[documents.Drains]:
    """Return the numbers of those rollouts whose drains had tasks to finish or to hand back."""
    found: list[documents.Drains] = []
    for rollout in rollouts:
        gone = history.events(rollout=rollout.id, kind=EventKind.GONE, limit=_ENDS)
        became = [task.became for event in gone for task in event.tasks]
        if became:
            found.append(
                {
                    "rollout": rollout.id,
                    "finished": became.count(Became.FINISHED),
                    "returned": became.count(Became.RETURNED),
                    "unknown": became.count(Became.UNKNOWN),
                }
            )
    return found


def ended(history: History, worker: str | None) -> Sequence[Event]:
    """Return the ends of this worker's runs that had tasks; of nobody if no worker is named."""
    if worker is None or "@" not in worker:
        return ()
    return [event for event in history.events(instance=worker, limit=_ENDS) if event.tasks]
