"""Run workers as trapd's own child processes, without systemd, over the same sd_notify protocol.

Nothing polls: a pidfd reports a worker's exit, one datagram socket receives the messages of all workers, and the loop's
timers keep the deadlines.

deadlines.py keeps B11 to B14 of the contract (trapd/contracts.py).

The kernel sends SIGTERM to the workers when trapd dies, so they drain. The next trapd sees them as draining until they
are gone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

from trapd import environment
from trapd.backend import accounts
from trapd.backend.embedded import memory, spawn
from trapd.backend.embedded.deadlines import Deadlines
from trapd.backend.embedded.notify import NotifySocket
from trapd.backend.embedded.records import Records
from trapd.backend.embedded.relay import Relay
from trapd.backend.embedded.run import Run
from trapd.backend.words import REFUSED, hangs_on, last_status, silence, with_reason
from trapd.contracts import STOP_TIME, Clock
from trapd.layout import Runtime
from trapd.memory_events import MemoryKills
from trapd.model import Failure, FailureKind, Instance, InstanceId, InstanceState, Memory

log = logging.getLogger("trapd.backend.embedded")
ABORT_GRACE = 10.0  # s between SIGABRT and SIGKILL; TimeoutAbortSec= of the workers' unit

Command = Callable[[InstanceId], tuple[list[str], dict[str, str]]]


class EmbeddedBackend:
    """Keeps B1 to B17 between ``open`` and ``close``, all in one loop.

    ``command`` gives an instance's argv and environment; its OSError or ValueError is the instance's failure.
    ``start_timeout`` gives the seconds that an instance has for its READY; ``watchdog`` in seconds, 0 for none.
    ``stop_time``: seconds that a drain has without a sign of life. ``relay`` copies the lines that workers write into
    ``logs``.
    """

    def __init__(
        self,
        *,
        command: Command,
        runtime: Path,
        logs: Path,
        relay: Relay | None = None,
        start_timeout: Callable[[InstanceId], float],
        watchdog: float = 60.0,
        stop_time: float = STOP_TIME,
        clock: Clock,
        on_change: Callable[[str], None],
    ) -> None:
        self._command, self._start_timeout = command, start_timeout
        self._watchdog, self._stop_time = watchdog, stop_time
        self._clock, self._on_change = clock, on_change
        self._records, self._relay = Records(runtime, logs), relay
        self._notify = NotifySocket(Runtime(runtime).notify, self._receive)
        self._runs: dict[InstanceId, Run] = {}
        self._by_pid: dict[int, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._deadlines: Deadlines
        self._memory_kills: MemoryKills

    async def open(self) -> None:
        """Listen, and adopt workers of an earlier trapd. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._runs.values, self._notify.drain, self._over)
        await asyncio.to_thread(self._records.make_folders)
        self._memory_kills = await asyncio.to_thread(MemoryKills)  # workers are in trapd's own control group
        if self._relay:
            self._relay.open()
        await asyncio.to_thread(self._notify.open)
        self._notify.listen(self._loop)
        for id, process in await asyncio.to_thread(lambda: list(self._records.adopt())):
            run = self._runs[id] = Run(id, self._clock.now(), asked=True)
            self._hold(run, process)
            self._enter(run, InstanceState.DRAINING)
            process.send(
                signal.SIGTERM
            )  # the kernel sent one when the earlier trapd died, perhaps before the worker had a handler

    async def keep_listening(self) -> bool:
        """Make files anew that were removed from the runtime directory; return whether any was. Raises OSError.

        Workers send again until trapd receives, so that their READY and their signs of life come late, but do come.
        """
        if await asyncio.to_thread(lambda: self._notify.is_there() and self._records.instances.is_dir()):
            return False
        await asyncio.to_thread(self._records.make_folders)
        if not await asyncio.to_thread(self._notify.is_there):
            self._notify.drain()
            self._notify.close(self._loop)  # workers that are connected to it get an error, and connect anew
            await asyncio.to_thread(self._notify.open)
            self._notify.listen(self._loop)
        for run in [run for run in self._runs.values() if run.process]:
            await self._note(run.id, run.pid)
        return True

    async def close(self) -> None:
        """Ask all workers to drain, and stop watching them."""
        for run in self._runs.values():
            self._deadlines.drop(run)
            if run.process:
                self._loop.remove_reader(run.process.pidfd)
                run.process.send(signal.SIGTERM)
                run.process.close()
        self._runs.clear()
        self._by_pid.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._relay:
            await self._relay.close()
        self._notify.close(self._loop)
        await asyncio.to_thread(self._notify.unlink)

    # -- the contract ----------------------------------------------------------------------------------------------

    async def observe(self) -> tuple[Instance, ...]:
        awake_for = self._loop.time() - self._deadlines.awake_since
        silent_before = self._clock.now() - silence(self._watchdog)
        if awake_for < silence(self._watchdog):  # messages of the time before may be lost (B13)
            silent_before = -math.inf
        return tuple(self._runs[id].view(silent_before) for id in sorted(self._runs))

    async def start(self, id: InstanceId) -> None:
        old = self._runs.get(id)
        if old and old.state is not InstanceState.FAILED:
            return
        now = self._clock.now()
        run = self._runs[id] = Run(id, now)
        if old:
            run.earlier_failures, run.failure = old.earlier_failures, old.failure
        self._on_change(id.pool)
        async with run.files:
            try:
                argv, env, output = await asyncio.to_thread(self._prepare, id)
                try:
                    self._launch(run, argv, env, output)
                finally:
                    os.close(output)
            except (OSError, ValueError) as error:
                self._fail(run, FailureKind.CRASH, f"cannot start: {error}", "")
            except Exception as error:  # the plan would wait for ever for an instance that neither runs nor has failed
                self._fail(run, FailureKind.CRASH, f"cannot start: {error!r}", "")
            if run.process:
                await self._note(id, run.process.pid)

    async def _note(self, id: InstanceId, pid: int) -> None:
        try:
            await asyncio.to_thread(self._records.note, id, pid)
        except OSError as error:
            log.error("cannot record that %s runs: %s; after a crash the next trapd will not adopt it", id, error)

    async def drain(self, id: InstanceId) -> None:
        run = self._runs.get(id)
        if run and run.state in (InstanceState.STARTING, InstanceState.READY):
            run.asked = True
            self._enter(run, InstanceState.DRAINING)
            if run.process:
                run.process.send(signal.SIGTERM)

    async def interrupt(self, id: InstanceId) -> bool:
        run = self._runs.get(id)
        if run is None or run.state is not InstanceState.DRAINING or run.pid is None:
            return False
        return await accounts.interrupt(self._records.instances, id.name, run.pid)

    async def kill(self, id: InstanceId) -> None:
        run = self._runs.get(id)
        if run is None or run.state is InstanceState.FAILED:
            return
        if run.state is InstanceState.STOPPING and run.process is None:
            return  # it has exited, and its files are being read
        run.killed = True
        run.verdict = run.verdict or (FailureKind.CRASH, "killed")
        if run.state is not InstanceState.STOPPING:
            self._enter(run, InstanceState.STOPPING)
        if run.process:
            run.process.kill_group()

    async def forget(self, id: InstanceId) -> None:
        run = self._runs.get(id)
        if run and run.state is InstanceState.FAILED:
            del self._runs[id]
            self._on_change(id.pool)
            await asyncio.to_thread(self._records.remove, id)

    async def memory(self) -> Mapping[InstanceId, Memory]:
        pids = {run.id: run.process.pid for run in self._runs.values() if run.process}
        used = await asyncio.to_thread(lambda: {id: memory.used(pid) for id, pid in pids.items()})
        return {id: Memory(size) for id, size in used.items() if size is not None}

    # -- the start of an instance ----------------------------------------------------------------------------------

    def _prepare(self, id: InstanceId) -> tuple[list[str], dict[str, str], int]:
        self._records.remove(id, keep_tasks=True)  # the worker itself reads what an earlier run was killed with
        argv, env = self._command(id)
        running = {instance.name for instance in list(self._runs)}
        output = self._records.open_log(id, running)
        if self._relay:
            self._relay.follow(id.name, self._records.log(id))
        return argv, environment.of_child(env, self._notify.path, self._watchdog), output

    def _launch(self, run: Run, argv: list[str], env: Mapping[str, str], output: int) -> None:
        if run.state is not InstanceState.STARTING:  # asked to exit before its process existed
            if run.asked:
                self._gone(run)
            else:
                self._fail(run, FailureKind.CRASH, "killed", "")
            return
        self._hold(run, spawn.spawn(argv, env, output))
        self._deadlines.give(run, self._start_timeout(run.id))

    def _hold(self, run: Run, process: spawn.Process) -> None:
        run.process, run.pid = process, process.pid
        self._by_pid[process.pid] = run
        self._loop.add_reader(process.pidfd, self._exited, run, process)

    # -- its messages ----------------------------------------------------------------------------------------------

    def _receive(self, pid: int, fields: Mapping[str, str]) -> None:
        run = self._by_pid.get(pid)
        if run is None:  # a child of a worker, or a stranger (B3)
            return
        run.receive(fields, self._loop.time(), self._clock.now())
        if fields.get("STOPPING") == "1" and run.state in (InstanceState.STARTING, InstanceState.READY):
            run.asked = True  # by another program or a user; it takes no new tasks in any case
            self._enter(run, InstanceState.DRAINING)
        elif fields.get("READY") == "1" and run.state is InstanceState.STARTING:
            self._deadlines.drop(run)
            run.sent_ready = True
            self._do(self._ready(run))
        elif "STATUS" in fields:
            self._on_change(run.id.pool)
            if run.state is InstanceState.READY:
                self._do(self._read_again(run))

    async def _ready(self, run: Run) -> None:
        """Read the worker's report, which it wrote before READY, and only then show the worker as ready."""
        async with run.files:
            report = await asyncio.to_thread(self._records.report, run.id, run.pid)
            if run.state is InstanceState.STARTING:
                run.report = report.code if report else None
                self._enter(run, InstanceState.READY)
                self._deadlines.give(run, self._watchdog)

    async def _read_again(self, run: Run) -> None:
        """Read the report again, because the worker may have loaded a module from elsewhere; and trim its log."""
        async with run.files:
            report = await asyncio.to_thread(self._records.report, run.id, run.pid)
            await asyncio.to_thread(self._records.trim_log, run.id)
        if report and report.code != run.report:
            run.report = report.code
            self._on_change(run.id.pool)

    # -- a deadline that has passed --------------------------------------------------------------------------------

    def _over(self, run: Run) -> None:
        if run.state is InstanceState.STARTING:
            took = self._clock.now() - run.since
            self._abort(run, FailureKind.TIMEOUT, f"did not send READY within {took:.3g} s{last_status(run.status)}")
        elif run.state is InstanceState.READY:
            why = f"its main loop stopped turning: no sign of life for {self._watchdog:g} s{last_status(run.status)}"
            self._abort(run, FailureKind.WATCHDOG, why)
        elif run.state is InstanceState.DRAINING:
            run.killed, run.status = True, hangs_on(self._stop_time)
            log.warning("%s %s", run.id, run.status)
            self._abort(run, FailureKind.TIMEOUT, run.status)

    def _abort(self, run: Run, kind: FailureKind, why: str) -> None:
        assert run.process is not None
        run.verdict = kind, why
        self._enter(run, InstanceState.STOPPING)
        run.process.send(signal.SIGABRT)
        run.timer = self._loop.call_later(ABORT_GRACE, run.process.kill_group)

    # -- its end ---------------------------------------------------------------------------------------------------

    def _exited(self, run: Run, process: spawn.Process) -> None:
        self._notify.drain()
        self._loop.remove_reader(process.pidfd)
        self._deadlines.drop(run)
        exit_status = process.reap()
        process.close()
        run.process = None
        self._by_pid.pop(process.pid, None)
        if not run.left_as_asked(exit_status):  # a worker that did is draining until it is gone (B4)
            self._enter(run, InstanceState.STOPPING)
        self._do(self._conclude(run, exit_status))

    async def _conclude(self, run: Run, exit_status: int | None) -> None:
        async with run.files:
            if self._relay:
                self._relay.end(run.id.name)
            if run.left_as_asked(exit_status):
                await asyncio.to_thread(self._records.remove, run.id, keep_tasks=True)  # the controller settles them
                self._gone(run)
                return
            report = await asyncio.to_thread(self._records.report, run.id, run.pid)
            reported = report.failure if report else None
            memory = exit_status == -signal.SIGKILL and await asyncio.to_thread(self._memory_kills.rose)
            kind, summary = run.explain(exit_status, reported, memory=memory)
            own_words = reported is not None and kind is reported.kind
            detail = (
                reported.detail if reported and own_words else await asyncio.to_thread(self._records.last_words, run.id)
            )
            await asyncio.to_thread(self._records.remove, run.id, keep_tasks=True)
            self._fail(run, kind, with_reason(summary, detail) if exit_status == REFUSED else summary, detail)

    def _gone(self, run: Run) -> None:
        if self._runs.get(run.id) is run:
            del self._runs[run.id]
            self._on_change(run.id.pool)

    def _fail(self, run: Run, kind: FailureKind, summary: str, detail: str) -> None:
        now = self._clock.now()
        run.earlier_failures = run.failures() + 1
        run.failure = Failure(kind, summary, detail, now, was_ready=run.sent_ready)
        run.enter(InstanceState.FAILED, now)
        self._on_change(run.id.pool)

    def _enter(self, run: Run, state: InstanceState) -> None:
        if run.state is not state:
            run.enter(state, self._clock.now())
            if state is InstanceState.DRAINING and run.process:
                self._deadlines.give(run, self._stop_time)
            self._on_change(run.id.pool)

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
