"""The records of all instances: PID 1's reports update them, and they are shown once their files have been read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trapd.backend import reports
from trapd.backend.systemd import facts as meaning
from trapd.backend.systemd import journal
from trapd.backend.systemd.facts import Facts
from trapd.backend.systemd.record import Record
from trapd.backend.words import OUT_OF_MEMORY, with_reason, without_counts
from trapd.contracts import Clock
from trapd.masking import mask
from trapd.model import Failure, FailureKind, Instance, InstanceId, InstanceState

log = logging.getLogger("trapd.backend.systemd")


class Known:
    """The records of all instances. ``moved`` follows every change of a record; it reads files and shows the record.

    ``reports``: the folder of the workers' report files; ``journalctl``: the command that reads the journal.
    ``on_change`` gets the pool of each instance that looks different from before.
    """

    def __init__(
        self,
        *,
        reports: Path,
        journalctl: Sequence[str],
        clock: Clock,
        on_change: Callable[[str], None],
        watchdog: float = 60.0,
    ) -> None:
        self._reports, self._journalctl = reports, journalctl
        self._clock, self._on_change, self._watchdog = clock, on_change, watchdog
        self._records: dict[InstanceId, Record] = {}
        self._newer: set[InstanceId] = set()  # with reports that are newer than the listing under way
        self._watchers: dict[InstanceId, asyncio.Event] = {}
        self._reading: dict[InstanceId, asyncio.Task[None]] = {}

    def __getitem__(self, id: InstanceId) -> Record:
        """Return its record; a new record, not yet in the table, if it is absent."""
        return self._records.get(id) or Record(id, self._watchdog)

    def seen(self, now: float) -> tuple[Instance, ...]:
        """Return the instances to show, in the order of their names."""
        shown = (self._records[id].shown_at(now) for id in sorted(self._records))
        return tuple(instance for instance in shown if instance is not None)

    def due(self, now: float) -> list[Record]:
        """Return the records for whose last sign of life PID 1 has to be asked."""
        return [record for record in self._records.values() if record.due(now)]

    # -- reports of PID 1 ------------------------------------------------------------------------------------------

    def receive(self, id: InstanceId, facts: Facts, live: bool = True) -> None:
        """Apply a report of PID 1. ``live``: it has just happened."""
        self._newer.add(id)
        if id not in self._records and facts.active == "inactive" and not facts.job:
            return
        record = self[id]
        record.receive(facts, self._clock.now(), live)
        self.moved(record)

    def begin_listing(self) -> None:
        """From now on reports are newer than the listing."""
        self._newer.clear()

    def listed(self, listing: Mapping[InstanceId, Facts]) -> None:
        """Apply a listing of all units that PID 1 has loaded."""
        for id in [*listing, *(set(self._records) - set(listing))]:
            if id in self._newer:
                continue
            if id in listing:
                self.receive(id, listing[id], live=False)
            elif not self._records[id].left:
                self[id].unload(self._clock.now())
                self.moved(self[id])

    def moved(self, record: Record) -> None:
        """Show the record as it is now, once the files that belong to its state have been read."""
        if self._records.setdefault(record.id, record) is not record:
            return  # it was dropped, and another record has its place
        if record.id not in self._reading:
            if record.unexplained or record.unread:
                self._reading[record.id] = asyncio.create_task(self._read(record))
                self._withdraw(record)
            else:
                self._show(record)

    def drop(self, record: Record) -> None:
        """Remove the record: the instance is absent now."""
        record.shown = None
        self._newer.add(record.id)
        if self._records.get(record.id) is record:
            del self._records[record.id]
            self._on_change(record.id.pool)
            self._wake(record.id)

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _show(self, record: Record) -> None:
        if self._records.get(record.id) is record:
            before, record.shown = record.shown, record.view()
            if record.done_with:
                del self._records[record.id]
            if record.shown != before:
                self._on_change(record.id.pool)
        self._wake(record.id)

    def _withdraw(self, record: Record) -> None:
        """Show a worker that was ready and has ended as stopping while its last lines are being read, which may take
        seconds: it no longer serves."""
        shown = record.shown
        if shown is not None and shown.state is InstanceState.READY and record.unexplained:
            record.shown = replace(shown, state=InstanceState.STOPPING, active_tasks=None)
            self._on_change(record.id.pool)

    def _wake(self, id: InstanceId) -> None:
        watcher = self._watchers.pop(id, None)
        if watcher is not None:
            watcher.set()

    async def until(self, record: Record, condition: Callable[[], bool], timeout: float) -> None:
        """Wait for the condition, and check it at each change of the record; at most ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not condition() or record.id in self._reading:
                    await self._watchers.setdefault(record.id, asyncio.Event()).wait()

    async def settled(self) -> None:
        """Wait until no file is being read."""
        while self._reading:
            await asyncio.wait(self._reading.values())

    async def close(self) -> None:
        reading = list(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    # -- the files -------------------------------------------------------------------------------------------------

    async def _read(self, record: Record) -> None:
        try:
            while record.unexplained or record.unread:
                await (self._explain(record) if record.unexplained else self._read_report(record))
        except Exception:  # nothing awaits this task, and a file that cannot be read must not hide the instance
            log.exception("cannot read the files of %s", record.id)
        finally:
            del self._reading[record.id]
        self._show(record)

    async def _explain(self, record: Record) -> None:
        facts, asked, killed = record.facts, record.asked, record.killed
        report = await asyncio.to_thread(reports.read, self._file(record.id), facts.last_pid)
        reported = report.failure if report else None
        kind, summary = meaning.explain(facts, reported, asked=asked, killed=killed)
        if (
            not killed
            and meaning.may_be_memory(facts)
            and await journal.out_of_memory(self._journalctl, facts.invocation)
        ):
            kind, summary = FailureKind.MEMORY, OUT_OF_MEMORY
        if reported is not None and kind is reported.kind:
            detail = reported.detail
        else:
            detail = await journal.of_run(self._journalctl, facts.invocation)
            summary = with_reason(summary, detail) if facts.never_began else summary
        if report and record.facts.invocation == facts.invocation:
            record.report = report.code
        record.failure = Failure(kind, mask(summary), detail, facts.ended, facts.was_ready)
        record.explained = facts.invocation

    async def _read_report(self, record: Record) -> None:
        """Read the report, which the worker writes before it sends READY, and perhaps anew before another STATUS=."""
        facts = record.facts
        report = await asyncio.to_thread(reports.read, self._file(record.id), facts.pid)
        if record.facts.invocation == facts.invocation:
            record.reported = facts.invocation, without_counts(facts.text)
            record.report = report.code if report else record.report

    def _file(self, id: InstanceId) -> Path:
        return self._reports / f"{id.name}.json"
