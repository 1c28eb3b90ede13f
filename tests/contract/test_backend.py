"""What every backend promises: B1 to B17 of trapd/contracts.py.

One suite for all: the fake of the simulation in virtual time, and the embedded backend with real processes. What only
real processes can show is in tests/process/test_embedded_backend.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.stages import EmbeddedStage, FakeStage, Script, Seen, Stage, look
from trapd.backend.embedded import deadlines
from trapd.model import Ailment, FailureKind, InstanceId, InstanceState

ONE, TWO, OTHER = InstanceId("default", 7, 1), InstanceId("default", 7, 2), InstanceId("gpu", 8, 1)


class Staged(Protocol):
    """A fresh stage; ``times``: start_timeout and watchdog in seconds, if they matter."""

    def __call__(self, **times: float) -> AbstractAsyncContextManager[Stage]: ...


@pytest.fixture(params=["fake", "embedded"])
def staged(request: pytest.FixtureRequest, short_path: Path) -> Staged:
    def on_stage(**times: float) -> AbstractAsyncContextManager[Stage]:
        return FakeStage(**times) if request.param == "fake" else EmbeddedStage(short_path, **times)

    return on_stage


@pytest.fixture
def standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than in earnest, so that it takes less time to show it."""
    monkeypatch.setattr(deadlines, "STANDSTILL", 0.5)


def is_(state: InstanceState, *ids: InstanceId) -> Callable[[Seen], bool]:
    return lambda seen: all(id in seen and seen[id].state is state for id in ids)


def absent(*ids: InstanceId) -> Callable[[Seen], bool]:
    return lambda seen: not any(id in seen for id in ids)


ready, draining, failed = (
    lambda *ids, state=state: is_(state, *ids)
    for state in (InstanceState.READY, InstanceState.DRAINING, InstanceState.FAILED)
)


async def start(stage: Stage, *ids: InstanceId, script: Script | None = None) -> Seen:
    """Start them and wait until they are ready."""
    for id in ids:
        stage.set(id, script or Script())
        await stage.backend.start(id)
    return await stage.until(ready(*ids))


async def fail(stage: Stage, id: InstanceId, script: Script) -> Seen:
    stage.set(id, script)
    await stage.backend.start(id)
    return await stage.until(failed(id))


async def test_b1_every_instance_of_every_pool_and_generation_is_observed(staged: Staged) -> None:
    async with staged() as stage:
        assert await stage.backend.observe() == ()
        await start(stage, ONE, OTHER)
        await fail(stage, TWO, Script(code_failure="ImportError: no module"))
        states = {id: instance.state for id, instance in (await look(stage.backend)).items()}
        assert states == {ONE: InstanceState.READY, OTHER: InstanceState.READY, TWO: InstanceState.FAILED}


async def test_b2_start_returns_when_the_instance_is_observed_as_starting(staged: Staged) -> None:
    async with staged() as stage:
        stage.set(ONE, Script(ready_after=None))
        await stage.backend.start(ONE)
        seen = (await look(stage.backend))[ONE]
        assert (seen.state, seen.ready_at, seen.failures) == (InstanceState.STARTING, None, 0)
        assert seen.pid is not None


async def test_b2_starting_twice_is_starting_once(staged: Staged) -> None:
    async with staged() as stage:
        stage.set(ONE, Script())
        await asyncio.gather(stage.backend.start(ONE), stage.backend.start(ONE))
        pid = (await look(stage.backend))[ONE].pid
        await stage.until(ready(ONE))
        await stage.backend.start(ONE)
        assert (await stage.settle())[ONE].pid == pid
        assert len(await stage.backend.observe()) == 1


async def test_b2_starting_one_that_drains_does_not_recall_the_drain(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, script=Script(drain=None))
        await stage.backend.drain(ONE)
        await stage.backend.start(ONE)
        assert (await look(stage.backend))[ONE].state is InstanceState.DRAINING
        await stage.go_on(ONE)
        await stage.until(absent(ONE))


async def test_b3_ready_comes_only_after_the_worker_said_so(staged: Staged) -> None:
    async with staged() as stage:
        stage.set(ONE, Script(ready_after=None))
        await stage.backend.start(ONE)
        assert (await stage.settle())[ONE].state is InstanceState.STARTING
        await stage.go_on(ONE)
        instance = (await stage.until(ready(ONE)))[ONE]
        assert instance.ready_at == instance.since


async def test_a_ready_instance_tells_what_code_it_loaded_and_how_busy_it_is(staged: Staged) -> None:
    async with staged() as stage:
        instance = (await start(stage, ONE, script=Script(active_tasks=3, strays=("trap.x=/elsewhere/x.py",))))[ONE]
        assert instance.report is not None
        assert (instance.report.generation, instance.report.digest) == (7, "digest-7")
        assert instance.report.mixed
        assert instance.active_tasks == 3


async def test_b4_a_drained_instance_is_draining_until_it_is_gone(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, script=Script(drain=None))
        await stage.backend.drain(ONE)
        shown = {instance.state for instance in (await stage.settle()).values()}

        def gone(seen: Seen) -> bool:
            shown.update(one.state for one in seen.values())
            return not seen

        await stage.go_on(ONE)
        await stage.until(gone)
        assert shown == {InstanceState.DRAINING}


async def test_b4_draining_an_absent_instance_does_nothing(staged: Staged) -> None:
    async with staged() as stage:
        await stage.backend.drain(ONE)
        assert await stage.settle() == {}
        assert stage.changed == []


async def test_b4_draining_twice_is_draining_once(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, script=Script(drain=None))
        await stage.backend.drain(ONE)
        since = (await look(stage.backend))[ONE].since
        await stage.settle()
        await stage.backend.drain(ONE)
        assert (await look(stage.backend))[ONE].since == since


async def test_b4_a_failed_instance_cannot_drain(staged: Staged) -> None:
    async with staged() as stage:
        await fail(stage, ONE, Script(code_failure="ImportError"))
        await stage.backend.drain(ONE)
        assert (await look(stage.backend))[ONE].state is InstanceState.FAILED


async def test_b4_one_that_is_still_starting_can_be_drained(staged: Staged) -> None:
    async with staged() as stage:
        stage.set(ONE, Script(ready_after=None))
        await stage.backend.start(ONE)
        await stage.backend.drain(ONE)
        seen = await look(stage.backend)  # SIGTERM ends one at once that does not listen yet: it may be gone
        assert ONE not in seen or seen[ONE].state is InstanceState.DRAINING
        await stage.until(absent(ONE))


async def test_b5_drained_with_exit_status_0_is_absent(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE)
        await stage.backend.drain(ONE)
        await stage.until(absent(ONE))
        assert await stage.settle() == {}


async def test_b5_drained_with_another_exit_status_is_failed(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, script=Script(drain_status=3))
        await stage.backend.drain(ONE)
        failure = (await stage.until(failed(ONE)))[ONE].failure
        assert failure is not None
        assert (failure.kind, failure.summary) == (FailureKind.CRASH, "exited with status 3")


async def test_b6_leaving_without_being_asked_is_a_failure_with_its_last_words(staged: Staged) -> None:
    async with staged() as stage:
        instance = (await fail(stage, ONE, Script(leave_after=0.0, words="it was the disk")))[ONE]
        assert instance.failure is not None
        assert (instance.failure.kind, instance.failure.summary) == (FailureKind.CRASH, "exited with status 1")
        assert "it was the disk" in instance.failure.detail
        assert instance.since == instance.failure.at
        assert instance.failure.was_ready
        assert (instance.pid, instance.ready_at, instance.active_tasks) == (None, None, None)


async def test_b6_the_workers_own_account_of_its_failure_is_told(staged: Staged) -> None:
    async with staged() as stage:
        script = Script(code_failure="ModuleNotFoundError: No module named 'x'", words="Traceback ...")
        failure = (await fail(stage, ONE, script))[ONE].failure
        assert failure is not None
        assert (failure.kind, failure.summary) == (FailureKind.CODE, "ModuleNotFoundError: No module named 'x'")
        assert not failure.was_ready
        assert failure.detail == "Traceback ..."


async def test_b7_a_killed_instance_is_failed(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE)
        await stage.backend.kill(ONE)
        failure = (await stage.until(failed(ONE)))[ONE].failure
        assert failure is not None
        assert (failure.kind, failure.summary) == (FailureKind.CRASH, "killed")


async def test_b7_one_that_was_draining_is_absent_after_a_kill(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, script=Script(drain=None))
        await stage.backend.drain(ONE)
        await stage.settle()
        await stage.backend.kill(ONE)
        await stage.until(absent(ONE))


async def test_b7_killing_an_absent_or_failed_instance_does_nothing(staged: Staged) -> None:
    async with staged() as stage:
        await stage.backend.kill(TWO)
        before = (await fail(stage, ONE, Script(code_failure="ImportError")))[ONE]
        await stage.backend.kill(ONE)
        assert await stage.settle() == {ONE: before}


async def test_b8_forgetting_makes_a_failed_instance_absent(staged: Staged) -> None:
    async with staged() as stage:
        await fail(stage, ONE, Script(code_failure="ImportError"))
        await stage.backend.forget(ONE)
        assert await stage.settle() == {}
        assert (await start(stage, ONE))[ONE].failures == 0


async def test_b8_forgetting_any_other_does_nothing(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE)
        await stage.backend.forget(ONE)
        await stage.backend.forget(TWO)
        assert set(await stage.settle()) == {ONE}


async def test_b9_failed_runs_in_a_row_are_counted(staged: Staged) -> None:
    async with staged() as stage:
        for count in (1, 2, 3):
            assert (await fail(stage, ONE, Script(leave_after=0.0)))[ONE].failures == count
        instance = (await start(stage, ONE))[ONE]
        assert instance.failures == 3  # ready, but not yet for long enough
        assert instance.failure is not None


async def test_b9_a_run_that_stayed_ready_for_30_seconds_starts_the_count_again(staged: Staged) -> None:
    async with staged() as stage:
        for _ in range(2):
            await fail(stage, ONE, Script(leave_after=0.0))
        await start(stage, ONE)
        stage.age(20.0)
        assert (await stage.settle())[ONE].failures == 2
        stage.age(10.5)
        assert (await stage.settle())[ONE].failures == 0
        await stage.backend.kill(ONE)
        assert (await stage.until(failed(ONE)))[ONE].failures == 1


async def test_b10_every_change_of_state_is_told(staged: Staged) -> None:
    async with staged() as stage:

        async def told(act: Awaitable[None], until: Callable[[Seen], bool]) -> bool:
            stage.changed.clear()
            await act
            await stage.until(until)
            return set(stage.changed) == {"gpu"}

        stage.set(OTHER, Script(ready_after=None, drain=None))
        assert await told(stage.backend.start(OTHER), is_(InstanceState.STARTING, OTHER))
        assert await told(stage.go_on(OTHER), ready(OTHER))
        assert await told(stage.backend.drain(OTHER), draining(OTHER))
        assert await told(stage.go_on(OTHER), absent(OTHER))
        stage.set(OTHER, Script(code_failure="ImportError"))
        assert await told(stage.backend.start(OTHER), failed(OTHER))
        assert await told(stage.backend.forget(OTHER), absent(OTHER))


async def test_b11_a_start_that_takes_too_long_fails(staged: Staged) -> None:
    async with staged(start_timeout=0.5) as stage:
        failure = (await fail(stage, ONE, Script(ready_after=None, drain=None)))[ONE].failure
        assert failure is not None
        assert (failure.kind, failure.was_ready) == (FailureKind.TIMEOUT, False)
        assert failure.summary.startswith("did not send READY")


async def test_b12_a_ready_instance_without_a_sign_of_life_fails(staged: Staged) -> None:
    async with staged(watchdog=3.0) as stage:
        await start(stage, TWO)
        failure = (await fail(stage, ONE, Script(silent=True)))[ONE].failure
        assert failure is not None
        assert failure.kind is FailureKind.WATCHDOG
        assert (await look(stage.backend))[TWO].state is InstanceState.READY


async def test_b12_a_draining_instance_needs_no_sign_of_life(staged: Staged) -> None:
    async with staged(watchdog=3.0) as stage:
        await start(stage, ONE, script=Script(drain=4.0))
        await stage.backend.drain(ONE)
        seen = await stage.until(lambda seen: not draining(ONE)(seen))
        assert ONE not in seen, "it was ended"


async def test_b9_a_run_that_hung_until_its_watchdog_ended_it_forgives_nothing(staged: Staged) -> None:
    async with staged(watchdog=1.5) as stage:
        assert (await fail(stage, ONE, Script(leave_after=0.0)))[ONE].failures == 1
        stage.set(ONE, Script(silent=True))
        await stage.backend.start(ONE)
        await stage.until(ready(ONE))
        stage.age(31.0)
        instance = (await stage.until(failed(ONE)))[ONE]
        assert instance.failure is not None
        assert (instance.failure.kind, instance.failures) == (FailureKind.WATCHDOG, 2)


async def test_b13_time_in_which_we_stood_still_is_held_against_nobody(staged: Staged, standstill: None) -> None:
    async with staged(start_timeout=1.2, watchdog=1.2, stop_time=1.2) as stage:
        await start(stage, ONE)
        await start(stage, TWO, script=Script(drain=None))
        await stage.backend.drain(TWO)
        stage.set(OTHER, Script(ready_after=None))
        await stage.backend.start(OTHER)
        await stage.until(lambda seen: draining(TWO)(seen) and is_(InstanceState.STARTING, OTHER)(seen))
        before = await start(stage, quiet := InstanceId("default", 7, 3), script=Script(silent=True))
        await stage.stand_still(2.4)
        seen = await stage.settle()
        assert seen[quiet].ailment is None  # what it may have said was not heard
        assert {id: one.state for id, one in seen.items()} == {id: one.state for id, one in before.items()}
        assert (seen[ONE].pid, seen[ONE].failures, seen[ONE].ailment) == (before[ONE].pid, 0, None)
        await stage.until(lambda seen: absent(TWO)(seen) and failed(OTHER)(seen))  # but they are not forgotten


async def test_b14_a_drain_without_a_sign_of_life_is_ended_and_says_so(staged: Staged) -> None:
    async with staged(stop_time=1.0) as stage:
        await start(stage, ONE, script=Script(drain=None))
        await stage.backend.drain(ONE)
        seen = await stage.until(lambda seen: not draining(ONE)(seen))
        if ONE in seen:  # a moment later it is gone; PID 1 may tell both at once
            assert seen[ONE].state is InstanceState.STOPPING
            assert seen[ONE].status.startswith("did not leave: no sign of life for ")
        await stage.until(absent(ONE))


async def test_b14_a_drain_that_gives_signs_of_life_is_left_alone(staged: Staged) -> None:
    async with staged(stop_time=1.0) as stage:
        await start(stage, ONE, script=Script(drain=3.0, prolong=1.0))
        began = time.monotonic()
        await stage.backend.drain(ONE)
        seen = await stage.until(lambda seen: not draining(ONE)(seen))
        assert ONE not in seen, f"ended after {time.monotonic() - began:.1f} s"


async def test_b15_a_ready_instance_tells_when_its_main_loop_last_turned(staged: Staged) -> None:
    async with staged() as stage:
        first = (await start(stage, ONE))[ONE]
        assert (first.alive_at or 0) >= (first.ready_at or 0) > 0
        await start(stage, TWO, script=Script(silent=True))
        for _ in range(6):
            seen = await stage.settle()
        assert (seen[ONE].alive_at or 0) > (first.alive_at or 0)
        assert seen[TWO].alive_at == seen[TWO].ready_at


@pytest.mark.parametrize(
    ("status", "ailment"),
    [
        ("main loop stalled for 31 s at jobs.py:7, 1 active", Ailment.STALLED),
        ("broker unreachable for 5 s, 0 active", Ailment.CUT_OFF),
        (
            "ready, 0 active, its main process has 612 MiB, more than max_memory = 512 MiB",
            Ailment.OUTGROWN,
        ),
        ("not consuming for 70 s: it does not take from queue celery, 0 active", Ailment.IDLE),
        ("ready, 3 active", None),
    ],
)
async def test_b15_what_it_says_that_keeps_it_from_serving_is_told(
    staged: Staged, status: str, ailment: Ailment | None
) -> None:
    async with staged() as stage:
        instance = (await start(stage, ONE, script=Script(status=status)))[ONE]
        assert (instance.ailment, instance.status) == (ailment, status)


async def test_b15_who_gives_no_sign_of_life_is_silent_before_its_watchdog_ends_it(staged: Staged) -> None:
    async with staged(watchdog=5.0) as stage:
        await start(stage, TWO)
        assert (await start(stage, ONE, script=Script(silent=True)))[ONE].ailment is None
        while (seen := await stage.settle())[ONE].ailment is None:
            assert seen[ONE].state is InstanceState.READY
        assert seen[ONE].ailment is Ailment.SILENT
        assert seen[TWO].ailment is None


async def test_b16_what_runs_says_what_it_uses(staged: Staged) -> None:
    async with staged() as stage:
        assert await stage.backend.memory() == {}
        await start(stage, ONE)
        await fail(stage, TWO, Script(code_failure="ImportError: no module"))
        memory = await stage.backend.memory()
        assert set(memory) <= {ONE}  # where the kernel does not count it, nothing is known
        assert all(1 << 16 < found.used < 1 << 32 for found in memory.values())


async def test_b17_an_interruption_reaches_tasks_in_a_drain_only(staged: Staged) -> None:
    async with staged() as stage:
        assert not await stage.backend.interrupt(ONE)  # absent
        await start(stage, ONE, script=Script(drain=None))
        assert not await stage.backend.interrupt(ONE)  # ready
        await stage.backend.drain(ONE)
        await stage.until(draining(ONE))
        assert not await stage.backend.interrupt(ONE)  # it has no child processes that run tasks
        assert draining(ONE)(await look(stage.backend))
        await stage.backend.kill(ONE)
