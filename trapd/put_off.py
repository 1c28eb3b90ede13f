"""Events that cannot be written down now, and are told nevertheless: with the ids that they are to have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from trapd.event import Event

MOST = 1000  # kept in memory; of more, the latest are not told


class PutOff:
    """``waiting``: the events, oldest first."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []

    def add(self, events: Iterable[Event], last: int) -> None:
        """``last``: the id of the last event that is written down. All of these follow it, so none has to be told
        another id later."""
        first = last + len(self.waiting) + 1
        self.waiting += [replace(event, id=id) for id, event in enumerate(events, first)]
        del self.waiting[MOST:]

    def after(self, found: Sequence[Event], wanted: Mapping[str, object], since: int | None, limit: int) -> list[Event]:
        """Return what was found of those that are written down, and those that wait, as History.events does.

        ``wanted``: values that an event has to have, if they are not None."""
        mine = [event for event in self.waiting if event.id > (since or 0) and _fits(event, wanted)]
        both = [*found, *mine]
        return both[:limit] if since is not None else both[max(len(both) - limit, 0) :]


def _fits(event: Event, wanted: Mapping[str, object]) -> bool:
    return all(value in (None, getattr(event, name)) for name, value in wanted.items())
