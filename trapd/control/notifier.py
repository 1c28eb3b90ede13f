"""Tells the outside of events: each one of the chosen kinds to the command and to the unit of [notify], in order.

The cursor, the last event that was told, is in the history. It moves after an event was told or given up: whatever ends
trapd in between, the event is told again by the next trapd, so a notification comes at least once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from trapd.contracts import Clock, History
from trapd.control import documents
from trapd.control.notify_command import run
from trapd.control.protocol import SCHEMA
from trapd.control.status import event
from trapd.errors import HistoryError, RefusedError, TrapdError
from trapd.event import Event, EventKind
from trapd.masking import mask, masked
from trapd.spec import Notify

log = logging.getLogger("trapd.notify")
PAUSES = (5.0, 30.0)  # seconds before the second and the third attempt, unless the notification before failed, too
CANNOT = "cannot notify"  # of what no notification tells: each failure would make the next one
_NOTE = "notify"  # the cursor's name in the history
_PAGE = 100  # events that are looked at in one go
StartUnit = Callable[[str], Awaitable[str]]  # waits for its end; returns why it failed, empty if it did not


class Controller(Protocol):
    """What the notifier needs of trapd's controller."""

    @property
    def history(self) -> History: ...
    def changed(self) -> asyncio.Future[None]: ...
    def notify(self) -> None: ...
    def save(self, states: tuple[()], events: list[Event], *, notes: Mapping[str, str] = ...) -> None: ...


class Notifier:
    """``run`` it as long as trapd runs. ``trouble``: why the latest notification failed; empty if it did not.

    ``start_unit`` is None where no systemd runs the workers.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        clock: Clock,
        host: Callable[[], str],
        settings: Notify,
        start_unit: StartUnit | None = None,
    ) -> None:
        self.settings, self.trouble = settings, ""
        self._controller, self._clock, self._host, self._start_unit = controller, clock, host, start_unit
        self._cursor: int | None = None  # None: to be read
        self._unsaved = ""  # the cursor that could not be written down
        self._tested: dict[int, str] = {}  # test event -> how it ended

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changed = self._controller.changed()  # taken before the look, so that no event falls between
            try:
                await self._catch_up()
            except HistoryError as error:  # a trouble of its own
                log.warning("%s", error)
            await asyncio.wait([changed])  # everybody's: not to be cancelled with us

    async def test(self, actor: str) -> str:
        """Notify of a test, whatever kinds are chosen; return who was told. Raises RefusedError with the reason if that
        failed, or nobody is to be told."""
        if not self.settings.wanted:
            raise RefusedError("cannot test notifications: [notify] names neither a command nor a unit")
        text = f"a test of notifications, asked for by {actor}"
        (saved,) = self._controller.history.save(events=[Event(self._clock.wall(), EventKind.NOTIFY_TEST, text, actor)])
        self._controller.notify()
        while saved.id not in self._tested:
            changed = self._controller.changed()
            if saved.id not in self._tested:
                await asyncio.wait([changed])
        if failure := self._tested.pop(saved.id):
            raise RefusedError(f"{CANNOT}: {failure}")
        return " and ".join(self.settings.names())

    async def _catch_up(self) -> None:
        history = self._controller.history
        if not self.settings.wanted:
            self.trouble, self._cursor = "", None
            if history.note(_NOTE):
                self._save("")  # what happens until it is wanted again is nobody's
            return
        if self._cursor is None:
            self._cursor = self._begin(history)
        while page := history.events(since=self._cursor, limit=_PAGE):
            told = 0
            for each in page:
                if self._chosen(each):
                    await self._tell(each)
                    told = each.id
                self._cursor = each.id
                if told == each.id:
                    self._save(str(told))
            if len(page) == _PAGE and told != self._cursor:
                self._save(str(self._cursor))
        if self._unsaved:
            self._save(self._unsaved)

    def _begin(self, history: History) -> int:
        """After the last event that was told; if none ever was, after the latest one."""
        if note := history.note(_NOTE):
            return int(note)
        latest = history.events(limit=1)
        cursor = latest[-1].id if latest else 0
        self._save(str(cursor))
        return cursor

    def _chosen(self, each: Event) -> bool:
        if each.kind is EventKind.NOTIFY_TEST:
            return True
        return each.kind in self.settings.on and CANNOT not in each.reason

    async def _tell(self, each: Event) -> None:
        """To the command and to the unit, each up to three times."""
        failures = []
        if self.settings.command:
            document = masked(self._document(each))
            command, limit = self.settings.command, self.settings.timeout
            failures.append(await self._attempt(lambda: run(command, document, limit)))
        if self.settings.unit:
            failures.append(await self._attempt(lambda: self._unit(each.id)))
        failure = mask("; ".join(words for words in failures if words))
        self.trouble = f"{CANNOT}: {failure}; test it with trapctl notify" if failure else ""
        if failure:
            log.error("%s of event %d (%s): %s", CANNOT, each.id, each.kind, failure)
        else:
            log.info("notified %s of event %d (%s)", " and ".join(self.settings.names()), each.id, each.kind)
        if each.kind is EventKind.NOTIFY_TEST:
            self._tested[each.id] = failure
        self._controller.notify()

    def _document(self, each: Event) -> documents.Notification:
        return {"schema": SCHEMA, "host": self._host(), "event": event(each)}

    async def _attempt(self, once: Callable[[], Awaitable[str]]) -> str:
        failure = await once()
        for pause in () if self.trouble else PAUSES:
            if not failure:
                break
            await asyncio.sleep(pause)
            failure = await once()
        return failure

    async def _unit(self, number: int) -> str:
        unit = self.settings.unit_of(number)
        if self._start_unit is None:
            return f"{unit} cannot be started: systemd does not run trapd's workers"
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._start_unit(unit)
        except TimeoutError:
            return f"{unit} had not ended after {self.settings.timeout:g} s"
        except TrapdError as error:
            return str(error)

    def _save(self, cursor: str) -> None:
        """What cannot be written down is tried again at the next change: an event may tell just that."""
        self._unsaved = cursor
        with contextlib.suppress(HistoryError):
            self._controller.save((), [], notes={_NOTE: cursor})
            self._unsaved = ""
