"""Record the events of one pool, and keep those that wait until the history can be written again. No effects."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from trapd.event import Event
from trapd.model import Instance, InstanceId
from trapd.rollout.actions import Action, Plan, Turn
from trapd.rollout.events import between, recalled
from trapd.rollout.view import PoolView

MOST_PENDING = 1000  # events that wait; of more only the outcome is told


class Recording:
    """One pool's. ``unfinished``: its workers, as the trapd before left them (J6). ``booted``: when PID 1 began, in the
    time of a view."""

    def __init__(self, unfinished: Sequence[Event], booted: float) -> None:
        self.pending: list[Event] = []
        self._unfinished, self._booted = unfinished, booted
        self._recorded: PoolView | None = None  # the last pass, with what was done in it
        self._written: PoolView | None = None  # the last pass of which all was written down

    @property
    def before(self) -> tuple[Instance, ...]:
        """The workers as the last pass left them; of a trapd that has just begun, once it was asked for events, as
        history knows them."""
        return self._recorded.instances if self._recorded is not None else ()

    def events(self, view: PoolView, plan: Plan, refused: Container[tuple[str, InstanceId | None]]) -> list[Event]:
        """What is to be told of this pass, after ``pending``. ``refused``: verbs and workers of attempts that were told
        before, and so was the error. A Turn writes its own line, with the generation that it wants."""
        if self._recorded is None or self._written is None:
            before = recalled(self._unfinished, view.at, view.wall, self._booted)
            self._recorded = self._written = replace(view, instances=before, actions=())
        if len(self.pending) > MOST_PENDING:
            self.pending, self._recorded = [], self._written
        news = (a for a in plan.actions if not isinstance(a, Turn) and (a.verb, a.instance) not in refused)
        return list(between(self._recorded, view, replace(plan, actions=tuple(news))))

    def recorded(self, view: PoolView, events: Sequence[Event], *, written: bool) -> None:
        """What is not about a worker, and was not written down, is decided again by the next pass, and told then."""
        self.pending = [] if written else [*self.pending, *(event for event in events if event.instance is not None)]
        self._recorded = replace(view, actions=())

    def done(self, view: PoolView, actions: tuple[Action, ...], *, written: bool) -> None:
        """What of the plan was carried out."""
        self._recorded = replace(view, actions=actions)
        if written:
            self._written = self._recorded
