"""What a worker's end cost, in the event that tells of the end: its tasks by id, and a sentence about them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trapd.event import Became, Event, EventKind, TaskEnd
from trapd.sizes import counted

MOST = 200  # tasks in one event; the sentence has the whole numbers
_NAMED = 3  # tasks in a sentence
# After these a run is over. Whoever is killed in a drain is gone.
ENDS = frozenset({EventKind.GONE, EventKind.LOST, *(kind for kind in EventKind if kind.failure)})


def told(event: Event, tasks: Sequence[TaskEnd]) -> Event:
    """Return the event with these tasks; those whose fate nobody knows come first."""
    if not tasks:
        return event
    listed = sorted(tasks, key=lambda task: (task.became is not Became.UNKNOWN, task.became))
    return replace(event, reason=f"{event.reason}; {sentence(tasks)}", tasks=tuple(listed[:MOST]))


def sentence(tasks: Sequence[TaskEnd]) -> str:
    """Return the numbers, and the names of those whose fate nobody knows."""
    unknown = [task for task in tasks if task.became is Became.UNKNOWN]
    if len(unknown) == len(tasks):
        return f"it had {counted(len(tasks), 'task')}: {named(unknown)}"
    parts = [f"{n} {became}" for became in Became if (n := sum(task.became is became for task in tasks))]
    return f"of {counted(len(tasks), 'task')} {', '.join(parts)}" + (f": {named(unknown)}" if unknown else "")


def named(tasks: Sequence[TaskEnd], most: int = _NAMED) -> str:
    """Return names with ids."""
    more = f", and {len(tasks) - most} more" if len(tasks) > most else ""
    return ", ".join(f"{task.name}[{task.id}]" for task in tasks[:most]) + more
