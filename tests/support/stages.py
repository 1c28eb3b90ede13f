"""Where the conformance suite of backends plays: a stage owns one backend and knows how to make its workers behave.

A stage for another backend needs ``set``, ``until``, ``settle`` and ``age``: the suite asks for no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from blockbuster import BlockBuster

from tests.support.fake_backend import NEVER, Behaviour, FakeBackend
from tests.support.virtual_clock import VirtualClock
from trapd.backend.embedded.backend import EmbeddedBackend
from trapd.contracts import STOP_TIME, Backend
from trapd.model import FailureKind, Instance, InstanceId

STUB = Path(__file__).with_name("stub_worker.py")
START_TIMEOUT = WATCHDOG = 30.0  # s, of every stage unless a test is about them
PATIENCE = 120.0  # s until a test gives up; what it waits for takes 0.1 to 6 s

Seen = Mapping[InstanceId, Instance]


@dataclass(frozen=True)
class Script:
    """What a worker does. Seconds; None: never, and in a start or a drain not before it is told to go on."""

    ready_after: float | None = 0.05
    drain: float | None = 0.05
    drain_status: int = 0
    leave_after: float | None = None  # after READY, without being asked
    code_failure: str = ""  # says so instead of READY
    silent: bool = False  # gives no sign of life after READY
    prolong: float | None = None  # says while it drains, again and again, that it needs so much more time
    status: str = ""  # with READY; empty: one that tells the active tasks
    active_tasks: int = 0
    strays: tuple[str, ...] = ()
    words: str = "the last words"


class Stage(Protocol):
    changed: list[str]  # the pools that on_change was called for

    @property
    def backend(self) -> Backend: ...

    def set(self, id: InstanceId, script: Script) -> None:
        """This instance behaves so from its next start on."""
        ...

    async def go_on(self, id: InstanceId) -> None:
        """A starting one whose script says never is ready now, a draining one leaves."""
        ...

    async def until(self, condition: Callable[[Seen], bool]) -> Seen:
        """Let time pass until the condition holds; a test that waits for ever fails."""
        ...

    async def settle(self) -> Seen:
        """Let enough time pass for anything that would happen at once, and look."""
        ...

    def age(self, seconds: float) -> None:
        """Everything observed becomes older by so much, and nothing else happens."""
        ...

    async def stand_still(self, seconds: float) -> None:
        """Whoever runs the backend is stopped for so long; so are the workers, where the backend judges them."""
        ...


async def look(backend: Backend) -> Seen:
    return {instance.id: instance for instance in await backend.observe()}


class FakeStage:
    def __init__(
        self, start_timeout: float = START_TIMEOUT, watchdog: float = WATCHDOG, stop_time: float = STOP_TIME
    ) -> None:
        self.changed: list[str] = []
        self.clock = VirtualClock()
        self._start_timeout = start_timeout
        self.backend = FakeBackend(self.clock, self.changed.append, watchdog=watchdog, stop_time=stop_time)

    async def __aenter__(self) -> FakeStage:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def set(self, id: InstanceId, script: Script) -> None:
        never = script.ready_after is None
        failure = FailureKind.TIMEOUT if never else FailureKind.CODE if script.code_failure else None
        self.backend.exceptions[id] = Behaviour(
            start=self._start_timeout if script.ready_after is None else script.ready_after,
            failure=failure,
            crash_after=NEVER if script.leave_after is None else script.leave_after,
            turns_for=0.0 if script.silent else NEVER,
            drain=NEVER if script.drain is None else script.drain,
            prolongs=script.prolong is not None,
            status=script.status,
            drain_status=script.drain_status,
            active_tasks=script.active_tasks,
            strays=script.strays,
            words=script.words,
            summary=script.code_failure,
        )

    async def go_on(self, id: InstanceId) -> None:
        self.backend.go_on(id)

    async def until(self, condition: Callable[[Seen], bool]) -> Seen:
        while not condition(seen := await look(self.backend)):
            due = self.backend.next_at()
            assert due < NEVER, f"nothing more will happen: {seen}"
            self._move_to(due)
        return seen

    async def settle(self) -> Seen:
        self._move_to(self.clock.now() + 0.2)
        return await look(self.backend)

    def age(self, seconds: float) -> None:
        self.clock.move_to(self.clock.now() + seconds)

    async def stand_still(self, seconds: float) -> None:
        self.backend.stand_still(seconds)
        self._move_to(self.clock.now() + seconds)

    def _move_to(self, now: float) -> None:
        self.clock.move_to(max(now, self.clock.now()))
        self.backend.advance(self.clock.now())


class LeapingClock:
    """Real time, and more where a test says so."""

    def __init__(self) -> None:
        self.leap = 0.0

    def now(self) -> float:
        return time.monotonic() + self.leap

    def wall(self) -> float:
        return time.time() + self.leap


class EmbeddedStage:
    """Real processes that run tests/support/stub_worker.py; ``scripts`` may be given in the stub's own words."""

    def __init__(
        self,
        directory: Path,
        start_timeout: float = START_TIMEOUT,
        watchdog: float = WATCHDOG,
        stop_time: float = STOP_TIME,
    ) -> None:
        self.changed: list[str] = []
        self.clock = LeapingClock()
        self.runtime, self.logs = directory / "run", directory / "logs"
        self.scripts: dict[InstanceId, dict[str, object]] = {}
        self.environment: dict[str, str] = {}
        self.backend = EmbeddedBackend(
            command=self._command,
            runtime=self.runtime,
            logs=self.logs,
            start_timeout=lambda id: start_timeout,
            watchdog=watchdog,
            stop_time=stop_time,
            clock=self.clock,
            on_change=self._on_change,
        )
        self._wake = asyncio.Event()
        self._blocking = BlockBuster("trapd")  # a call of ours that blocks the loop is a failure

    def _on_change(self, pool: str) -> None:
        self.changed.append(pool)
        self._wake.set()

    def _command(self, id: InstanceId) -> tuple[list[str], dict[str, str]]:
        script = json.dumps(self.scripts.get(id, {}))
        python = [sys.executable, "-I", "-S", "-X", "faulthandler"]
        return [*python, str(STUB), id.name, str(self.runtime), script], {**os.environ, **self.environment}

    async def __aenter__(self) -> EmbeddedStage:
        self._blocking.activate()
        await self.backend.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for id in await look(self.backend):
                await self.backend.kill(id)
            await self.until(lambda seen: not any(one.pid for one in seen.values()))
            await self.backend.close()
        finally:
            self._blocking.deactivate()

    def set(self, id: InstanceId, script: Script) -> None:
        self.scripts[id] = {
            "ready_after": script.ready_after,
            "drain": script.drain,
            "drain_status": script.drain_status,
            "leave_after": script.leave_after,
            "status": script.status or f"ready, {script.active_tasks} active",
            "ping": not script.silent,
            "strays": script.strays,
            "words": script.words,
            **({"code_failure": script.code_failure} if script.code_failure else {}),
            **({"prolong": script.prolong} if script.prolong is not None else {}),
        }

    async def go_on(self, id: InstanceId) -> None:
        (self.runtime / f"{id.name}.go").touch()

    async def until(self, condition: Callable[[Seen], bool]) -> Seen:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not condition(seen := await look(self.backend)):
                    await self._wake.wait()  # so a change that is not told is a test that fails (B10)
                    self._wake.clear()
                return seen
        raise AssertionError(f"it does not happen: {await look(self.backend)}")

    async def settle(self) -> Seen:
        await asyncio.sleep(0.2)
        return await look(self.backend)

    def age(self, seconds: float) -> None:
        self.clock.leap += seconds

    async def stand_still(self, seconds: float) -> None:
        pids = [one.pid for one in await self.backend.observe() if one.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        with self._not_blocking_for_once():
            time.sleep(seconds)  # noqa: ASYNC251 - the loop's, and with it the backend's
        await asyncio.sleep(0)  # what is due is done before anybody can speak
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def _not_blocking_for_once(self) -> Iterator[None]:
        self._blocking.deactivate()
        yield
        self._blocking.activate()
