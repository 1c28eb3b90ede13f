"""Keeps since when each problem is there over a restart of trapd, and records a problem that lasts, and its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from trapd.control.drains import waits
from trapd.control.needs import Context
from trapd.control.problems import collect
from trapd.control.status import is_eager
from trapd.errors import HistoryError
from trapd.event import Event, EventKind
from trapd.problem import Problem

LASTING = 600.0  # seconds
_NOTE = "problems"  # its name in the history
_FIRST_LOOKS = 60.0  # seconds after trapd's start in which workers and the disk are not all seen yet
Save = Callable[[Sequence[Event], Mapping[str, str]], None]
PutOff = Callable[[Sequence[Event]], None]


@dataclass(frozen=True, slots=True)
class _Told:
    text: str
    pool: str | None
    since: float


class ProblemLog:
    """``look`` at each change, while trapd runs. ``after``: seconds after which a problem lasts; ``save`` raises
    HistoryError; then ``put_off`` is called."""

    def __init__(self, context: Context, save: Save, put_off: PutOff, after: float = LASTING) -> None:
        self.after, self._context, self._save, self._put_off = after, context, save, put_off
        self._told: dict[str, _Told] = {}
        written = json.loads(context.controller.history.note(_NOTE) or "{}")
        self._told = {key: _Told(**told) for key, told in written.get("told", {}).items()}
        context.ages.keep(written.get("known", {}), until=context.clock.wall() + _FIRST_LOOKS)
        self._written = self._state()

    async def look(self, troubles: Sequence[str]) -> float | None:
        """Record what is to be recorded; return the seconds until the next problem lasts, None if there is none.

        ``troubles``: those of trapd itself.
        """
        context = self._context
        if context.about.state() != "running":
            return None  # it keeps no pool: nothing that is missing is a problem
        views = await context.controller.look()
        problems = collect(context, views, troubles, await waits(context, views), is_eager(context))
        now = context.clock.wall()
        self._record(problems, now)
        left = [problem.since + self.after - now for problem in problems]
        return min((seconds for seconds in left if seconds > 0), default=None)

    def _record(self, problems: Sequence[Problem], now: float) -> None:
        before, lasting = dict(self._told), [p for p in problems if now - p.since >= self.after]
        new = {p.key: _Told(p.text, p.pool, p.since) for p in lasting if p.key not in before}
        over = {key: told for key, told in before.items() if key not in self._context.ages.known}
        self._told = {key: told for key, told in (before | new).items() if key not in over}
        state = self._state()
        if state == self._written:
            return
        events = [_event(now, EventKind.PROBLEM, told, told.text) for told in new.values()]
        events += [_event(now, EventKind.PROBLEM_OVER, told, f"it is over: {told.text}") for told in over.values()]
        try:
            self._save(events, {_NOTE: json.dumps({"known": self._context.ages.known, "told": state[1]})})
        except HistoryError:  # what is known of the problems is written at a later change
            self._put_off(events)
        else:
            self._written = state

    def _state(self) -> tuple[list[str], dict[str, dict[str, object]]]:
        """The ages themselves follow from facts, or do not change."""
        return sorted(self._context.ages.known), {key: asdict(told) for key, told in self._told.items()}


def _event(now: float, kind: EventKind, told: _Told, reason: str) -> Event:
    return Event(now, kind, reason, pool=told.pool, duration=round(max(0.0, now - told.since), 3))
