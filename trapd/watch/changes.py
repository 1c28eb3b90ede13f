"""The watch: hears of changes, waits until they have come to an end, and says what is installed then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trapd.contracts import Clock
from trapd.errors import HistoryError, SnapshotError
from trapd.model import Disk, DiskState
from trapd.mount_table import Mount, read
from trapd.rollout.condition import Condition
from trapd.watch.endings import Endings
from trapd.watch.environment import AUTO
from trapd.watch.inbox import Inbox
from trapd.watch.interpreter import Interpreter, Trust
from trapd.watch.mounts import MountEvents, silent, under
from trapd.watch.places import Places
from trapd.watch.quiet import Quiet, Verdict
from trapd.watch.shadows import NO_PATHS, Shadow
from trapd.watch.survey import Arm, Meant, Survey, Surveyor

if TYPE_CHECKING:
    from trapd.watch.observer import Observer

log = logging.getLogger("trapd.watch")

FULL_LOOK = 300.0  # seconds between looks that read everything again, whatever was heard
SILENT_LOOK = 30.0  # the same where nobody reports what changes: NFS and the like
COST = 100  # times that a look takes: no oftener does it come for such a file system
_FEW = 3  # warnings that `trapctl status` has room for
DEAF_LOOK = 30.0  # the same where something cannot be watched


async def _nobody(at_work: bool) -> None:
    """Is told of installers."""


class Watch:
    """Watches the named distributions of the application's interpreter, its celeryconfig and the interpreter itself.

    ``on_disk`` is awaited by ``run`` at every change of state, fingerprint or reason. If it raises SnapshotError or
    HistoryError, what is installed has to settle once more, later each time it happens again. ``trust`` is asked at
    every look whether the celeryconfig may be used; ``loaded`` for the distributions that count because workers have
    loaded them, by normalised name; ``condition`` for that of what is wanted now: None takes all as it is.
    ``on_trouble`` is called when ``troubles`` has changed. ``earlier``: whether there are generations without a table.
    ``paths``: setting -> PYTHONPATH, of the pools.
    ``on_installer`` is awaited with True while an installer is at work, and with False when what it did is reported.
    """

    _observer: Observer | None = None
    _reported: Disk | None = None
    _settled: Disk | None = None  # the last that did
    _shadows: Sequence[Shadow] = ()  # in that

    def __init__(
        self,
        *,
        python: Path,
        celeryconfig: Path,
        distributions: Sequence[str],
        quiet_period: float,
        ceiling: float,
        clock: Clock,
        on_disk: Callable[[Disk], Awaitable[object]],
        trust: Trust,
        condition: Callable[[], Condition | None] = lambda: None,
        environment: Mapping[str, str] | None = None,
        full_look: float = FULL_LOOK,
        silent_look: float | None = None,
        loaded: Callable[[], Collection[str]] = frozenset,
        on_trouble: Callable[[], object] = lambda: None,
        earlier: Callable[[], bool] = lambda: True,
        on_installer: Callable[[bool], Awaitable[object]] = _nobody,
        snapshot: str = AUTO,
        paths: Mapping[str, str] = NO_PATHS,
    ) -> None:
        self._clock, self._on_disk, self._full_look, self._loaded = clock, on_disk, full_look, loaded
        self._condition, self._on_trouble, self._silent_look = condition, on_trouble, silent_look
        self._quiet_period, self._ceiling, self._earlier = quiet_period, ceiling, earlier
        self._on_installer, self._over, self._hearing = on_installer, False, threading.Lock()
        self._interpreter = Interpreter(python, celeryconfig, environment=environment, trust=trust)
        self._surveyor = Surveyor(python, celeryconfig, distributions, snapshot=snapshot, paths=paths)
        self._quiet, self._inbox = Quiet(quiet_period, ceiling, clock.now()), Inbox(clock)
        self._disk = Disk(DiskState.CHANGING, self._quiet.reason)
        self._refusals, self._refusal = 0, ""  # SnapshotErrors in a row, and the last of them
        self._warned, self._troubled = dict[str, str](), list[str]()  # of what settled; at the last ``on_trouble``
        self._endings = Endings(clock, at_work=self._installers, ended=self._installers_ended)
        self._renew, self._changed, self._broken = False, False, False  # the last: what the last look saw
        self._doubted, self._unwatched = False, ""  # files' times; why nothing at all can be watched, if so
        self._wake, self._looking, self._reporting = asyncio.Event(), asyncio.Lock(), asyncio.Lock()
        self._requested: asyncio.Task[None] | None = None  # a look that somebody asked for, and that has not begun
        self._under_way: set[asyncio.Task[None]] = set()
        self._fully_looked, self._cost = -math.inf, 0.0  # when a look began that read everything, and its seconds
        self._places, self._mounts = Places(), frozenset[Mount]()  # what the last look was for, and what is under that

    @property
    def disk(self) -> Disk:
        """What is installed, as far as it is known now."""
        return self._disk

    def troubles(self) -> list[str]:
        """What keeps changes from being heard, and the installed code from being copied, in sentences for people."""
        return [sentence for sentence in (self._deaf, self._refusal) if sentence]

    @property
    def hears(self) -> bool:
        """Whether all changes are reported; if not, ``troubles`` or ``warnings`` say why, and what is done about it."""
        return not (self._deaf or silent(self._mounts))

    @property
    def _deaf(self) -> str:
        return self._unwatched or (self._observer.deaf if self._observer is not None else "")

    def warnings(self) -> list[str]:
        """How changes are found where nobody reports them, and what of what settled is not run, or not whole, and holds
        nothing back, in sentences for people; of many that are not whole, the first."""
        others = [*filter(None, [self.mode()]), *map(str, self._shadows)]
        told = [self._warned[mark] for mark in sorted(self._warned)]
        more = len(told) - _FEW
        few = told if more <= 1 else [*told[:_FEW], f"{more} more are not whole: trapctl check names them"]
        return [*others, *few]

    def mode(self) -> str:
        """How changes are found where nobody reports them, in a sentence; empty if all are reported."""
        where = silent(self._mounts)
        return f"changes are looked for every {self._interval():g} s: {where}" if where else ""

    async def run(self) -> None:
        """Watch until cancelled. The first look comes at once."""
        loop = asyncio.get_running_loop()
        self._inbox.deliver(lambda: loop.call_soon_threadsafe(self._receive))
        self._over = False
        try:
            await asyncio.to_thread(self._listen)
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):
                    mounts = stack.enter_context(contextlib.closing(MountEvents()))
                    loop.add_reader(mounts, self._mounts_changed, mounts)
                    stack.callback(loop.remove_reader, mounts)
                await self._run()
        finally:
            self._endings.close()
            await asyncio.to_thread(self._listen_no_more)
            await self._rest()

    async def _run(self) -> None:
        while True:
            await self._wait()
            if self._due() <= self._clock.now():
                await self._look(fresh=self._fully_looked + self._interval() <= self._clock.now())
            await self._report()

    async def look(self) -> Disk:
        """Look again now, reading every file; return when ``on_disk`` knows what that changed.

        Callers that come before a look has begun share it. A caller that gives up does not end the look: its thread
        would go on, beside that of the next.
        """
        if self._requested is None:
            self._requested = asyncio.create_task(self._look_by_request(), name="look")
            self._under_way.add(self._requested)
            self._requested.add_done_callback(self._under_way.discard)
        await asyncio.shield(self._requested)
        return self._disk

    async def _look_by_request(self) -> None:
        await self._look(fresh=True)
        self._wake.set()
        await self._report()

    async def take_as_it_is(self) -> str:
        """Let requirements and metadata files that are not as they were before count no more. Returns what of that
        held back what is installed, and looks again; empty if nothing did."""
        taken = self._surveyor.take_as_it_is()
        if taken:
            self._quiet.taken()
            await self.look()
        return taken

    def _listen(self) -> None:
        from trapd.watch.observer import Observer, reason  # here, so that whoever only looks needs no watchdog

        with self._hearing:
            if self._over:
                return
            try:
                overflow = self._inbox.overflow
                self._observer, self._unwatched = Observer(self._inbox.put, on_overflow=overflow), ""
            except OSError as error:
                why = f"{reason(error)}; until then changes are found only every {DEAF_LOOK:g} s"
                before, self._unwatched = self._unwatched, f"cannot watch any folder: {why}"
                if self._unwatched != before:
                    log.error("%s", self._unwatched)

    def _listen_no_more(self) -> None:
        """Waits for a ``_listen`` that goes on in its thread though its caller was cancelled."""
        with self._hearing:
            self._over, observer, self._observer = True, self._observer, None
            if observer:
                observer.stop()

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _interval(self) -> float:
        longest = self._longest_interval()
        if self._silent_look is None and not silent(self._mounts):
            return longest
        look = SILENT_LOOK if self._silent_look is None else self._silent_look
        return min(longest, max(look, COST * self._cost))

    def _longest_interval(self) -> float:
        if self._unwatched or (self._observer is not None and self._observer.incomplete):
            return min(self._full_look, DEAF_LOOK)
        # nobody says when dpkg's lock becomes free, or when a person has removed pip's remains
        return min(self._full_look, self._ceiling) if self._quiet.state is DiskState.BROKEN else self._full_look

    def _due(self) -> float:
        due = self._quiet.due
        periodic = self._fully_looked + self._interval()
        return periodic if due is None else min(due, periodic)

    async def _wait(self) -> None:
        timeout = self._due() - self._clock.now()
        if timeout > 0:
            # not wait_for: that of Python 3.11 loses a cancellation which comes together with the event (bpo-37658)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
        self._wake.clear()

    def _receive(self) -> None:
        news = self._inbox.take()
        self._renew = self._changed = True
        if news.overflow:  # anything may have changed: read everything, at once
            self._fully_looked = -math.inf
        self._event(news.at, f"{news.path} changed" if news.path else "the kernel dropped notices of changes")
        self._endings.heard(metadata=news.metadata)
        self._wake.set()

    def _mounts_changed(self, mounts: MountEvents) -> None:
        mounts.clear()
        self._on_trouble()  # maybe: that a file system became read-only is a change of a mount
        now = under(self._places, read())
        if changed := sorted(str(mount.place) for mount in now ^ self._mounts):
            self._mounts, self._renew, self._changed = now, True, True
            self._event(self._clock.now(), f"{changed[0]} was mounted or unmounted")
            self._wake.set()

    async def _installers(self) -> frozenset[int]:
        async with self._looking:
            found = await asyncio.to_thread(self._surveyor.at_work)
        if found:
            await self._on_installer(True)
        return found

    async def _rest(self) -> None:
        async with self._looking:
            await asyncio.to_thread(self._surveyor.rest)
        await self._on_installer(False)

    def _installers_ended(self) -> None:
        self._quiet.hurry(self._clock.now())
        self._wake.set()

    def _event(self, at: float, what: str) -> None:
        self._quiet.event(at, what)
        self._update(None)

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _look(self, *, fresh: bool) -> None:
        async with self._looking:
            began = self._clock.now()
            if fresh:
                self._fully_looked, self._requested = began, None
            changed, self._changed = self._changed, False  # what changes while it answers counts for the next look
            answer = await self._interpreter.ask(again=self._broken, changed=changed)
            self._renew, renew = False, self._renew
            if fresh and self._unwatched:  # what had been used up may be free again
                await asyncio.to_thread(self._listen)
            if renew and self._observer:  # before the look: then what it locates need not be located once more
                await asyncio.to_thread(self._observer.arm, self._places, renew=True)
            arm, wall = self._arming(), self._clock.wall()
            meant = Meant(frozenset(self._loaded()), self._condition(), earlier=self._earlier())
            anew = (fresh and bool(silent(self._mounts))) or self._doubted
            self._doubted = False
            survey = await asyncio.to_thread(self._surveyor.look, answer, arm, wall=wall, fresh=anew, meant=meant)
            self._cost = self._clock.now() - began if fresh else self._cost
            self._broken = survey.finding.verdict is Verdict.BROKEN
            if survey.finding.verdict is Verdict.UNFINISHED:
                self._endings.heard()
            self._quiet.looked(began, self._clock.now(), survey.finding)
            if self._quiet.state is DiskState.SETTLED and survey.finding.verdict is Verdict.WHOLE:
                self._surveyor.settled(survey)
                self._warn(survey.warnings)
                self._shadows = survey.shadows
            self._update(survey)
            self._tell_troubles()

    def _arming(self) -> Arm:
        observer = self._observer

        def arm(places: Places) -> frozenset[Path]:
            self._places, self._mounts = places, under(places, read())
            return observer.arm(places, renew=False) if observer else frozenset()

        return arm

    def _update(self, survey: Survey | None) -> None:
        if self._quiet.state is DiskState.TENTATIVE:
            if survey and survey.finding.facts:
                self._disk = replace(survey.disk, state=DiskState.TENTATIVE)
        elif self._quiet.state is not DiskState.SETTLED:
            versions = (survey and survey.disk.versions) or self._disk.versions
            self._disk = Disk(self._quiet.state, self._quiet.reason, versions=versions)
        elif survey and self._disk.state is not DiskState.SETTLED:
            self._disk = survey.disk

    # --- telling ----------------------------------------------------------------------------------------------------

    async def _report(self) -> None:
        async with self._reporting:
            await self._report_news()

    async def _report_news(self) -> None:
        disk, reported = self._disk, self._reported
        if reported and _same(reported, disk):
            return
        self._reported = disk
        self._log(disk)
        try:
            await self._on_disk(disk)
            if disk.state is DiskState.SETTLED:
                self._refusals, self._refusal = 0, ""
                self._tell_troubles()
        except (SnapshotError, HistoryError) as error:
            # at once the first time; then a full file system, say, gets ever more time
            later = min(self._ceiling / 2, self._quiet_period * (2 ** min(self._refusals, 32) - 1))
            self._refusals, self._refusal = self._refusals + 1, str(error)
            self._doubted = True
            log.error("%s; looking again", error)
            self._event(self._clock.now() + later, str(error))
            self._wake.set()
            self._tell_troubles()
        if disk.state in {DiskState.SETTLED, DiskState.BROKEN}:
            await self._rest()

    def _tell_troubles(self) -> None:
        if (now := self.troubles()) != self._troubled:
            self._troubled = now
            self._on_trouble()

    def _warn(self, warnings: Mapping[str, str]) -> None:
        now = {mark: f"{why.partition(';')[0]}; it is taken as it is" for mark, why in warnings.items()}
        for mark in [mark for mark in now if mark not in self._warned]:
            log.warning("%s", now[mark])
        self._warned = now

    def _log(self, disk: Disk) -> None:
        match disk.state:
            case DiskState.SETTLED if self._settled and _same(self._settled, disk) and not self._refusals:
                log.info("no effect: the content is the same as before (%s)", disk.fingerprint[:12])
            case DiskState.SETTLED:
                self._settled = disk
                versions = ", ".join(f"{name} {version}" for name, version in sorted(disk.versions.items()))
                log.info("settled: %s (%s)", versions, disk.fingerprint[:12])
            case DiskState.TENTATIVE:
                versions = ", ".join(f"{name} {version}" for name, version in sorted(disk.versions.items()))
                log.info("whole, as its installer left it: %s (%s)", versions, disk.fingerprint[:12])
            case DiskState.CHANGING:
                log.info("changing: %s", disk.reason)
            case DiskState.BROKEN:
                log.error("broken: %s", disk.reason)


def _same(before: Disk, now: Disk) -> bool:
    """To whoever is told of it."""
    return (before.state, before.fingerprint, before.reason, before.distributions) == (
        now.state,
        now.fingerprint,
        now.reason,
        now.distributions,
    )
