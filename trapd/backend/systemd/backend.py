"""Run workers as systemd units, each an instance of its pool's template, through PID 1 on the system bus.

Nothing polls: ``observe`` answers from the signals of PID 1, and compares with a listing of all units whenever a signal
may have been missed. Only systemd holds the units: opening adopts all workers that run, closing leaves them running.

systemd itself keeps these promises of the contract (trapd/contracts.py), by settings of the template:

B3, B4   Type=notify, NotifyAccess=main, KillMode=mixed
B6       Restart=: systemd starts a crashed worker again, also while trapd does not run. The worker is then starting,
         with its failure and the number of failures; it is failed when systemd gives up
B11      TimeoutStartSec=, TimeoutStartFailureMode=abort
B12      WatchdogSec=
B14      TimeoutStopSec=, TimeoutStopFailureMode=abort

This backend need not keep B13, because PID 1 judges, whatever trapd does meanwhile. If the whole machine is paused
(suspend, a virtual machine), PID 1's clock stands still, too; if only its cgroup is frozen, PID 1's clock runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trapd.backend import accounts
from trapd.backend.gauge import KernelGauge
from trapd.backend.systemd.bus import BusError, LostError
from trapd.backend.systemd.facts import Facts
from trapd.backend.systemd.jobs import Jobs
from trapd.backend.systemd.known import Known
from trapd.backend.systemd.pid1 import Pid1
from trapd.backend.systemd.record import Record
from trapd.backend.systemd.refusals import cannot, cannot_start, is_error
from trapd.backend.words import hangs_on
from trapd.contracts import Clock
from trapd.errors import BackendError
from trapd.model import Instance, InstanceId, InstanceState, Memory

log = logging.getLogger("trapd.backend.systemd")
BEGUN = 5.0  # s that a verb waits until its effect can be observed; it takes 2 to 80 ms
CLOSING = 1.0  # s that background tasks have to end
ASKING = 0.5  # s that a question for the last sign of life may take
CHECK_AFTER = 60.0  # s; ``observe`` renews a listing that is older than this, in the background

_RUNS = (InstanceState.STARTING, InstanceState.READY)
_LEAVES = (InstanceState.DRAINING, InstanceState.STOPPING)
_GONE = ("NoSuchUnit", "NoSuchProcess", "UnitNotLoaded")


class SystemdBackend:
    """Keeps B1 to B15 between ``open`` and ``close``, all in one loop.

    ``reports``: the folder of the workers' report files. ``bus_address``: of another bus than the system's.
    ``journalctl``: the command that reads the journal. ``watchdog``: the units' WatchdogSec=, 0 for none.
    ``on_shutdown`` is called, once or more, when the machine begins to go down: systemd then starts nothing any more.
    """

    def __init__(
        self,
        *,
        reports: Path,
        clock: Clock,
        on_change: Callable[[str], None],
        bus_address: str | None = None,
        journalctl: Sequence[str] = ("journalctl",),
        watchdog: float = 60.0,
        on_shutdown: Callable[[bool], None] = lambda down: None,
    ) -> None:
        self._clock, self._on_shutdown, self._reports = clock, on_shutdown, reports
        self._known = Known(reports=reports, journalctl=journalctl, clock=clock, on_change=on_change, watchdog=watchdog)
        self._jobs = Jobs()
        self._pid1 = Pid1(
            address=bus_address,
            on_facts=self._receive,
            on_job=self._jobs.ended,
            on_gap=self._missed,
            on_shutdown=on_shutdown,
        )
        self._checking: asyncio.Task[None] | None = None
        self._due = asyncio.Event()  # set when a listing is due
        self._jobs_missed = False
        self._checked_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect, and adopt all workers that run. Raises BackendError if systemd cannot be reached."""
        try:
            await self._pid1.open()
            await self._list()
        except (LostError, BusError) as error:
            await self.close()
            raise BackendError(f"cannot reach systemd: {error}; is the system bus running?") from error
        await self._known.settled()

    async def close(self) -> None:
        """Disconnect from systemd; workers go on running."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._known.close()
        await self._pid1.close()
        self._jobs.give_up()

    async def start_other(self, unit: str) -> str:
        """Start a unit that is no worker, and wait for the end of the job: for a unit of Type=oneshot, its own end.
        Return why that failed; empty if it did not."""
        try:
            result = await (await self._jobs.begin(self._pid1.start(unit)))
        except (BusError, LostError) as error:
            return cannot_start(unit, error)
        return "" if result == "done" else f"{unit} ended with {result!r}; see journalctl -u {unit}"

    # -- the contract ----------------------------------------------------------------------------------------------

    async def observe(self) -> tuple[Instance, ...]:
        """See the contract. While systemd cannot be reached, return the instances as systemd last reported them."""
        if asyncio.get_running_loop().time() - self._checked_at > CHECK_AFTER:
            self.check()
        now = asyncio.get_running_loop().time()
        if due := self._known.due(now):
            await asyncio.gather(*(self._ask(record, now) for record in due))
        return self._known.seen(self._clock.now())

    async def _ask(self, record: Record, now: float) -> None:
        """Ask for its last sign of life. Without an answer nothing is known of it, and it does not count as silent."""
        record.asked_at = now
        with contextlib.suppress(BusError, LostError, TimeoutError):
            async with asyncio.timeout(ASKING):
                record.alive = max(record.alive, await self._pid1.alive(record.id))
                record.answered_at = now

    async def start(self, id: InstanceId) -> None:
        record = self._known[id]
        if record.state not in (None, InstanceState.FAILED):
            return
        record.wish = InstanceState.STARTING
        self._known.moved(record)
        try:
            if record.facts.active == "failed":  # else systemd may refuse: started too often
                await self._pid1.reset_failed(id.unit)
            job = await self._jobs.begin(self._pid1.start(id.unit))
        except (BusError, LostError) as error:
            self._drop_wish(record, InstanceState.STARTING)
            if is_error(error, "TransactionIsDestructive") and (record.state in _LEAVES or await self.shuts_down()):
                return  # a stop of this worker, or of the machine, began a moment ago
            raise cannot("start", id, error) from error
        await self._begun(record, job, lambda: record.shown is not None and record.shown.pid is not None)
        if job.done() and job.result() == "dependency":
            raise BackendError(f"cannot start {id}: a unit that it requires failed; see `systemctl status {id.unit}`")

    async def drain(self, id: InstanceId) -> None:
        record = self._known[id]
        if record.state not in _RUNS:
            return
        try:
            job = await self._jobs.begin(self._pid1.stop(id.unit))
        except (BusError, LostError) as error:
            raise cannot("drain", id, error) from error
        if record.state in _RUNS:
            record.wish = InstanceState.DRAINING
            self._known.moved(record)
        await self._begun(record, job, lambda: record.wish is None)

    async def interrupt(self, id: InstanceId) -> bool:
        record = self._known[id]
        if record.state is not InstanceState.DRAINING or record.shown is None or record.shown.pid is None:
            return False
        return await accounts.interrupt(self._reports, id.name, record.shown.pid)

    async def kill(self, id: InstanceId) -> None:
        record = self._known[id]
        if record.state in (None, InstanceState.FAILED):
            return
        before = record.killed, record.was_draining
        record.killed, record.was_draining = True, record.was_draining or record.state is InstanceState.DRAINING
        try:
            await self._pid1.stop(id.unit)  # otherwise systemd would start it again
            await self._pid1.kill(id.unit)
        except (BusError, LostError) as error:
            if not is_error(error, *_GONE):
                record.killed, record.was_draining = before
                raise cannot("kill", id, error) from error
        self._known.moved(record)

    async def forget(self, id: InstanceId) -> None:
        record = self._known[id]
        if record.state is not InstanceState.FAILED:
            return
        if not record.left:
            await self._reset(id)
        self._known.drop(record)

    async def memory(self) -> Mapping[InstanceId, Memory]:
        running = {i.id: i.pid for i in self._known.seen(self._clock.now()) if i.pid is not None}
        sizes = await asyncio.gather(*(self._memory(id, pid) for id, pid in running.items()))
        return {id: memory for id, memory in zip(running, sizes, strict=True) if memory is not None}

    async def _memory(self, id: InstanceId, pid: int) -> Memory | None:
        """Return None if no answer comes in time: the rest of the status must not wait for it."""
        with contextlib.suppress(BusError, LostError, TimeoutError):
            async with asyncio.timeout(ASKING):
                memory = await self._pid1.memory(id)
                return memory and replace(memory, cache=await asyncio.to_thread(KernelGauge().cache, pid))
        return None

    async def _reset(self, id: InstanceId) -> None:
        try:
            await self._pid1.reset_failed(id.unit)
        except (BusError, LostError) as error:
            if not is_error(error, *_GONE):
                raise cannot("forget", id, error) from error

    async def _begun(self, record: Record, job: asyncio.Future[str], condition: Callable[[], bool]) -> None:
        """Wait until the effect of a verb can be observed, or its job is over. The wish lasts as long as the job."""
        wish = record.wish
        job.add_done_callback(lambda _: self._drop_wish(record, wish))
        await self._known.until(record, lambda: condition() or job.done(), BEGUN)

    def _drop_wish(self, record: Record, wish: InstanceState | None) -> None:
        """From now on only the state that systemd reports counts."""
        if wish is not None and record.wish is wish:
            record.wish = None
        self._known.moved(record)

    # -- beside the contract ---------------------------------------------------------------------------------------

    async def kept_connected(self) -> None:
        """Return at ``close``. Raises an unexpected error that has ended the connection: no signal arrives after it."""
        await self._pid1.kept_connected()

    async def own_job(self) -> str:
        """Return systemd's job for trapd's own unit: "stop", "restart", ...; "" if none. Raises BackendError."""
        try:
            return await self._pid1.own_job()
        except (BusError, LostError) as error:
            raise BackendError(f"cannot ask systemd for our own job: {error}") from error

    async def shuts_down(self) -> bool:
        """Whether the machine goes down; asks systemd, because the signal may be missed. Raises BackendError."""
        try:
            down = await self._pid1.system_state() == "stopping"
        except (BusError, LostError) as error:
            raise BackendError(f"cannot ask systemd for its state: {error}") from error
        if down:
            self._on_shutdown(True)
        return down

    # -- reports of systemd ----------------------------------------------------------------------------------------

    def _receive(self, id: InstanceId, facts: Facts) -> None:
        before, hung = self._known[id].facts.active, self._known[id].hung
        self._known.receive(id, facts)
        if self._known[id].hung and not hung:
            log.warning("%s %s", id, hangs_on())
        if self._known[id].was_draining and facts.active == "failed" != before:
            self._do(lambda: self._reset(id))  # killed while it drained: absent, so systemd forgets it, too

    def _missed(self, jobs: bool) -> None:
        self._jobs_missed |= jobs
        self.check()

    def check(self) -> None:
        """Compare the records with a listing of all units, in the background."""
        self._due.set()
        if self._checking is None or self._checking.done():
            self._checking = self._do(self._check)

    async def _check(self) -> None:
        while self._due.is_set():
            self._due.clear()
            try:
                await self._list()
            except (LostError, BusError) as error:
                log.warning("%s; comparing with a listing again in %g s at the latest", error, BEGUN)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BEGUN):
                        await self._due.wait()  # set when the connection is back
                self._due.set()

    async def _list(self) -> None:
        """Raises LostError and BusError."""
        self._known.begin_listing()
        ids = await self._pid1.units()
        facts = await asyncio.gather(*(self._pid1.facts(id) for id in ids))
        self._known.listed(dict(zip(ids, facts, strict=True)))
        if self._jobs_missed:
            self._jobs_missed = False
            self._jobs.give_up()  # the listing shows the effects of the jobs whose ends were missed
        self._checked_at = asyncio.get_running_loop().time()

    def _do(self, work: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _logged(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run work in the background; an error is logged, and the next check tries again."""
        try:
            await work()
        except (LostError, BusError, BackendError) as error:
            log.warning("%s; trying again later", error)
