"""The systemd backend where only a real systemd can show it: what happens to the bus and to PID 1, what systemd does by
itself, what people do by hand, and how fast it is. What every backend promises is in test_backend_contract.py.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.nspawn.conftest import Boot
from tests.support.installation import Installation
from tests.support.machine import Machine
from tests.support.stages import Seen, look
from tests.support.systemd_stage import SHARED, SystemdStage, prepare, put_units
from tests.support.worker_lab import wait
from trapd.backend.systemd import backend, bus, pid1
from trapd.errors import BackendError
from trapd.model import FailureKind, InstanceId, InstanceState

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "systemd/polkit-1/rules.d"
ONE, TWO, OTHER = InstanceId("default", 7, 1), InstanceId("default", 7, 2), InstanceId("gpu", 8, 1)

# What is tried here makes this machine slow, and nobody is to die of that or to count as silent.
LONG = 600.0  # s, more than a test of the suite may take
CALM: Any = {"watchdog": LONG, "start_timeout": 60}

Staged = Callable[[], SystemdStage]


def many(number: int, generation: int = 9) -> list[InstanceId]:
    return [InstanceId("default", generation, slot) for slot in range(1, number + 1)]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Shared with the machine."""
    path = Path(tempfile.mkdtemp(prefix="td"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def there(boot_for_module: Boot, folder: Path, installation: Installation) -> Machine:
    """The machine of all these tests: with trapd, a user for it and its rights."""
    options = prepare(folder)
    shutil.copy(HERE / "driver.py", folder)
    machine = boot_for_module(options=options, binds=installation.binds)
    for unit in ("dbus", "polkit"):  # which are killed and restarted more often here than systemd would bear
        machine.put(f"/etc/systemd/system/{unit}.service.d/often.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    for rule in RULES.glob("*.rules"):
        machine.put(f"/etc/polkit-1/rules.d/{rule.name}", rule.read_text())
    put_units(machine, **CALM)
    return machine


@pytest.fixture
def staged(there: Machine, folder: Path) -> Staged:
    """Makes a fresh stage."""
    return lambda: SystemdStage(there, folder, watchdog=LONG)


@pytest.fixture
def restarting(there: Machine, request: pytest.FixtureRequest) -> Iterator[None]:
    """Units that systemd restarts by itself, three times a minute, after 0.3 s or what the test's parameter says."""
    put_units(there, **CALM, restart="on-failure", restart_sec=getattr(request, "param", 0.3), burst=4)
    yield
    put_units(there, **CALM)


def reached(state: InstanceState, *ids: InstanceId) -> Callable[[Seen], bool]:
    return lambda seen: all(id in seen and seen[id].state is state for id in ids)


def ready(*ids: InstanceId) -> Callable[[Seen], bool]:
    return reached(InstanceState.READY, *ids)


def gone(*ids: InstanceId) -> Callable[[Seen], bool]:
    return lambda seen: not any(id in seen for id in ids)


async def start(stage: SystemdStage, *ids: InstanceId, **script: object) -> Seen:
    for id in ids:
        stage.script(id, **script)
    await asyncio.gather(*(stage.backend.start(id) for id in ids))
    return await stage.until(ready(*ids))


@asynccontextmanager
async def connected(stage: SystemdStage) -> AsyncIterator[SystemdStage]:
    """This stage, as of a trapd that finds workers and leaves them. It is left also where the test fails: what Python
    finds unclosed fails whatever test runs then in this process (it was an upgrade with Redis)."""
    await stage.backend.open()
    try:
        yield stage
    finally:
        await stage.backend.close()


def lasting(seen: Seen) -> Seen:
    """What two looks have in common, however long the second comes after the first."""
    return {id: replace(instance, alive_at=None) for id, instance in seen.items()}


async def run(stage: SystemdStage, script: str) -> str:
    """Run shell commands in the machine."""
    return await asyncio.to_thread(lambda: stage.machine.sh(script).check())


# --- the bus and PID 1 ----------------------------------------------------------------------------------------------


KILL_BUS = "kill -9 $(pidof dbus-daemon) || :"


async def test_when_the_bus_dies_it_connects_again_and_the_workers_do_not_notice(staged: Staged) -> None:
    async with staged() as stage:
        before = await start(stage, ONE, TWO)
        await run(stage, f"{KILL_BUS}; systemctl kill --signal=KILL {TWO.unit}")
        seen = await stage.until(reached(InstanceState.FAILED, TWO))
        assert lasting(seen)[ONE] == lasting(before)[ONE]
        assert (failure := seen[TWO].failure) is not None
        assert "SIGKILL" in failure.summary
        await stage.backend.drain(ONE)
        await stage.until(gone(ONE))


async def test_what_is_asked_while_the_bus_dies_is_done_all_the_same(staged: Staged) -> None:
    async with staged() as stage:
        ids = many(12)
        for id in ids:
            stage.script(id)
        starting = [asyncio.create_task(stage.backend.start(id)) for id in ids]
        for _ in range(3):
            await asyncio.sleep(0.05)
            await run(stage, KILL_BUS)
        await asyncio.gather(*starting)
        pids = {id: instance.pid for id, instance in (await stage.until(ready(*ids))).items()}
        draining = [asyncio.create_task(stage.backend.drain(id)) for id in ids]
        await run(stage, KILL_BUS)
        await asyncio.gather(*draining)
        await stage.until(gone(*ids))
        assert len(set(pids.values())) == len(ids)


async def test_a_bus_that_does_not_answer_is_given_up_and_found_again(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage:
        pid = (await start(stage, ONE))[ONE].pid
        stage.script(TWO)
        monkeypatch.setattr(bus, "CALL_TIMEOUT", 0.4)
        await run(stage, "kill -STOP $(pidof dbus-daemon)")
        asking = asyncio.create_task(stage.backend.start(TWO))
        await asyncio.sleep(1.2)
        assert not asking.done()
        assert (await look(stage.backend))[ONE].pid == pid  # what it said last
        await run(stage, "kill -CONT $(pidof dbus-daemon)")
        monkeypatch.undo()
        await asking
        assert (await stage.until(ready(ONE, TWO)))[ONE].pid == pid


async def test_while_there_is_no_bus_a_verb_fails_in_time_and_says_so(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage:
        await start(stage, ONE)
        monkeypatch.setattr(bus, "CALL_TIMEOUT", 0.2)
        monkeypatch.setattr(pid1, "PATIENCE", 0.6)
        await run(stage, "kill -STOP $(pidof dbus-daemon)")
        began = time.monotonic()
        with pytest.raises(BackendError, match=f"cannot drain {ONE}: no "):
            await stage.backend.drain(ONE)
        assert time.monotonic() - began < 8.0  # 10 s is what a single call gets otherwise
        await run(stage, "kill -CONT $(pidof dbus-daemon)")
        monkeypatch.undo()
        await stage.backend.drain(ONE)
        await stage.until(gone(ONE))


async def test_who_observes_finds_a_dead_bus_though_nobody_asked_for_anything(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage:
        await start(stage, ONE)
        monkeypatch.setattr(bus, "CALL_TIMEOUT", 0.2)
        monkeypatch.setattr(backend, "CHECK_AFTER", 0.1)
        await run(stage, "kill -STOP $(pidof dbus-daemon)")
        await asyncio.sleep(0.3)
        await stage.backend.observe()
        await asyncio.sleep(0.5)
        await run(stage, f"kill -CONT $(pidof dbus-daemon); systemctl stop {ONE.unit}")
        monkeypatch.undo()
        await stage.until(gone(ONE))


@pytest.mark.parametrize("how", ["daemon-reexec", "daemon-reload"])
async def test_jobs_survive_a_storm_of_reloads(staged: Staged, how: str) -> None:
    async with staged() as stage:
        ids = many(16)
        kept = await start(stage, ONE)
        for id in ids:
            stage.script(id, ready_after=0.2, drain=0.2)
        storm = asyncio.create_task(run(stage, f"for i in 1 2 3 4 5 6; do systemctl {how}; sleep 0.1; done"))
        await asyncio.gather(*(stage.backend.start(id) for id in ids))
        await stage.until(ready(*ids))
        await asyncio.gather(*(stage.backend.drain(id) for id in ids))
        await storm
        seen = await stage.until(gone(*ids))
        assert lasting(seen) == {ONE: lasting(kept)[ONE]}


async def test_what_happens_behind_a_reload_is_not_missed(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, TWO)
        await run(stage, f"systemctl kill -s KILL {ONE.unit}; systemctl daemon-reexec; systemctl stop {TWO.unit}")
        await stage.until(lambda seen: reached(InstanceState.FAILED, ONE)(seen) and gone(TWO)(seen))


# --- a trapd that comes back ----------------------------------------------------------------------------------------


async def test_what_runs_is_adopted_with_its_times_and_its_report(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, strays=["a=b"], status="ready, 3 active")
        stage.script(TWO, drain=None)
        await stage.backend.start(TWO)
        await stage.until(ready(TWO))
        await stage.backend.drain(TWO)
        stage.script(OTHER, leave_after=0.0, words="it was the disk")
        await stage.backend.start(OTHER)
        before = await stage.until(reached(InstanceState.FAILED, OTHER))
        async with connected(staged()) as later:
            assert lasting(await look(later.backend)) == lasting(before)
        assert lasting(await look(stage.backend)) == lasting(before)


async def test_systemds_own_restarts_are_counted_also_those_that_nobody_saw(staged: Staged, there: Machine) -> None:
    put_units(there, **CALM, restart="on-failure", restart_sec=0.05)
    async with connected(staged()) as stage:
        await start(stage, ONE)
    stage.script(ONE, leave_after=0.2)
    restarted = f"[ $(systemctl show --property=NRestarts --value {ONE.unit}) -ge 3 ]"
    await run(stage, f"systemctl kill -s KILL {ONE.unit}; until {restarted}; do sleep 0.1; done")
    stage.script(ONE, status="here to stay")
    async with staged() as later:
        seen = await later.until(lambda seen: ready(ONE)(seen) and seen[ONE].status == "here to stay")
        instance = seen[ONE]
        assert instance.failures == int(there.show(ONE.unit, "NRestarts")["NRestarts"])
        assert instance.failures >= 3
    put_units(there, **CALM)


# --- what systemd does by itself ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("restarting")
@pytest.mark.parametrize("restarting", [4.0], indirect=True)
async def test_what_systemd_restarts_is_starting_with_its_failure(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE)
        stage.script(ONE, words="second run")
        await run(stage, f"systemctl kill -s SEGV --kill-whom=main {ONE.unit}")
        waiting = (await stage.until(reached(InstanceState.STARTING, ONE)))[ONE]
        assert (waiting.failures, waiting.pid, waiting.ready_at, waiting.active_tasks) == (1, None, None, None)
        assert waiting.failure is not None
        assert waiting.failure.kind is FailureKind.CRASH
        assert waiting.failure.summary == "was killed by SIGSEGV"
        assert "Fatal Python error: Segmentation fault" in waiting.failure.detail
        again = (await stage.until(ready(ONE)))[ONE]
        assert (again.failures, again.failure) == (1, waiting.failure)


@pytest.mark.usefixtures("restarting")
async def test_when_systemd_gives_up_it_is_failed_and_can_be_started_at_once(staged: Staged) -> None:
    async with staged() as stage:
        stage.script(ONE, leave_after=0.0)
        await stage.backend.start(ONE)
        seen = await stage.until(reached(InstanceState.FAILED, ONE))
        assert seen[ONE].failures == 4
        assert (failure := seen[ONE].failure) is not None
        assert failure.summary == "exited with status 1"
        assert (await start(stage, ONE))[ONE].failures == 4


@pytest.mark.usefixtures("restarting")
@pytest.mark.parametrize("restarting", [60.0], indirect=True)
@pytest.mark.parametrize("verb", ["drain", "kill"])
async def test_one_that_waits_for_its_restart_can_be_ended(staged: Staged, verb: str) -> None:
    async with staged() as stage:
        stage.script(ONE, leave_after=0.0)
        await stage.backend.start(ONE)
        waits = reached(InstanceState.STARTING, ONE)  # for a moment before it has failed, and there is nothing to end
        await stage.until(lambda seen: waits(seen) and seen[ONE].failures == 1 and seen[ONE].pid is None)
        await getattr(stage.backend, verb)(ONE)
        await stage.until(gone(ONE))
        assert await stage.settle() == {}


@pytest.mark.usefixtures("restarting")
async def test_a_killed_instance_is_not_restarted(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, drain=None)
        await stage.backend.kill(ONE)
        seen = await stage.until(reached(InstanceState.FAILED, ONE))
        assert (failure := seen[ONE].failure) is not None
        assert failure.summary == "killed"
        await asyncio.sleep(0.5)
        assert (await look(stage.backend))[ONE].state is InstanceState.FAILED


async def test_one_that_had_nothing_to_start_says_so_itself(staged: Staged) -> None:
    async with staged() as stage:
        words = "hello\ntrapd-worker: cannot start default@7-1: there is no generation 7"
        stage.script(ONE, leave_after=0.1, leave_status=78, words=words)
        await stage.backend.start(ONE)
        failure = (await stage.until(reached(InstanceState.FAILED, ONE)))[ONE].failure
        assert failure is not None
        said = "cannot start default@7-1: there is no generation 7"
        assert (failure.summary, failure.detail) == (f"exited with status 78: {said}", words)


async def test_one_that_leaves_with_status_0_unasked_is_failed_though_systemd_forgets_it(staged: Staged) -> None:
    async with staged() as stage:
        stage.script(ONE, leave_after=0.1, leave_status=0)
        await stage.backend.start(ONE)
        instance = (await stage.until(reached(InstanceState.FAILED, ONE)))[ONE]
        assert instance.failure is not None
        assert instance.failure.summary == "exited with status 0 without being asked to"
        assert instance.failure.detail == "hello"
        await stage.backend._list()
        assert (await stage.settle())[ONE] == instance
        assert (await start(stage, ONE))[ONE].failures == 1
        await stage.backend.kill(ONE)
        await stage.until(reached(InstanceState.FAILED, ONE))
        await stage.backend.forget(ONE)
        assert await stage.settle() == {}


async def test_what_cannot_be_executed_is_failed_with_systemds_words(staged: Staged, there: Machine) -> None:
    drop_in = f"/run/systemd/system/{ONE.unit}.d/user.conf"
    there.put(drop_in, "[Service]\nUser=nobody-of-that-name\n")
    there.systemctl("daemon-reload")
    try:
        async with staged() as stage:
            stage.script(ONE)
            await stage.backend.start(ONE)
            failure = (await stage.until(reached(InstanceState.FAILED, ONE)))[ONE].failure
            assert failure is not None
            why = "Failed to determine user credentials: No such process"
            assert failure.summary == f"systemd could not run it: status 217/USER: {why}"
            assert "Failed at step USER spawning " in failure.detail
    finally:  # or no later test of this machine could start the worker
        there.sh(f"rm {drop_in}; systemctl daemon-reload").check()


async def test_the_last_words_are_told_though_journald_is_late(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE)
        await run(stage, "systemctl kill -s STOP systemd-journald")
        await run(stage, f"systemctl kill -s SEGV --kill-whom=main {ONE.unit}; sleep 1")
        await run(stage, "systemctl kill -s CONT systemd-journald")
        failure = (await stage.until(reached(InstanceState.FAILED, ONE)))[ONE].failure
        assert failure is not None
        assert "Fatal Python error: Segmentation fault" in failure.detail


# --- what people do by hand -----------------------------------------------------------------------------------------


async def test_a_unit_stopped_by_hand_drains_and_is_no_failure(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, drain=None)
        await run(stage, f"systemctl stop --no-block {ONE.unit}")
        await stage.until(reached(InstanceState.DRAINING, ONE))
        await stage.go_on(ONE)
        await stage.until(gone(ONE))


async def test_a_unit_restarted_by_hand_comes_back_and_is_no_failure(staged: Staged) -> None:
    async with staged() as stage:
        pid = (await start(stage, ONE, drain=None))[ONE].pid
        await run(stage, f"systemctl restart --no-block {ONE.unit}")
        await stage.until(reached(InstanceState.DRAINING, ONE))
        await stage.go_on(ONE)
        again = (await stage.until(ready(ONE)))[ONE]
        assert (again.pid != pid, again.failures, again.failure) == (True, 0, None)


async def test_a_unit_started_by_hand_is_noticed(staged: Staged) -> None:
    async with staged() as stage:
        stage.script(OTHER)
        await run(stage, f"systemctl start {OTHER.unit}")
        await stage.until(ready(OTHER))
        assert set(stage.changed) == {"gpu"}


async def test_a_worker_told_to_leave_by_somebody_else_drains_if_it_says_so(staged: Staged) -> None:
    async with staged() as stage:
        await start(stage, ONE, drain=None, stopping=True)
        await run(stage, f"systemctl kill --kill-whom=main {ONE.unit}")
        await stage.until(reached(InstanceState.DRAINING, ONE))
        await stage.go_on(ONE)
        await stage.until(gone(ONE))


async def test_a_failed_unit_reset_by_hand_is_forgotten(staged: Staged) -> None:
    async with staged() as stage:
        stage.script(ONE, leave_after=0.0)
        await stage.backend.start(ONE)
        await stage.until(reached(InstanceState.FAILED, ONE))
        await run(stage, f"systemctl reset-failed {ONE.unit}")
        await stage.until(gone(ONE))


# --- what the verbs do ----------------------------------------------------------------------------------------------


async def test_drain_tells_the_main_process_alone_and_kill_ends_all(staged: Staged, folder: Path) -> None:
    async with staged() as stage:
        await start(stage, ONE, drain=None, child=f"{SHARED}/child", note=f"{SHARED}/note")
        await stage.backend.drain(ONE)
        await asyncio.to_thread(wait, lambda: (folder / "note").read_text().endswith("signal 15\n"))
        await stage.settle()
        child, *signals = (folder / "child").read_text().split("\n", 1)
        assert signals == [""]
        await stage.backend.kill(ONE)
        await stage.until(gone(ONE))
        await asyncio.to_thread(wait, lambda: not there_is(stage.machine, child))


def there_is(machine: Machine, pid: str) -> bool:
    return machine.exists(f"/proc/{pid}")


async def test_a_start_never_takes_the_place_of_a_stop(staged: Staged) -> None:
    """Whoever starts looks first; this is for a stop that begins in between."""

    async with staged() as stage:
        await start(stage, ONE, drain=None)
        await stage.backend.drain(ONE)
        with pytest.raises(bus.BusError, match="destructive"):
            await stage.backend._pid1.start(ONE.unit)
        await stage.go_on(ONE)
        await stage.until(gone(ONE))


async def test_a_pool_without_a_template_cannot_be_started(staged: Staged) -> None:
    async with staged() as stage:
        id = InstanceId("unheard_of", 1, 1)
        with pytest.raises(
            BackendError, match=f"cannot start {id}: its pool has no unit template; run `systemctl daemon"
        ):
            await stage.backend.start(id)
        assert await stage.settle() == {}


@pytest.fixture
def dependent(there: Machine) -> Iterator[Callable[[str], None]]:
    """ONE requires slow.service, which does what is set: a command that ends after a while, well or badly."""
    drop_in = f"/run/systemd/system/{ONE.unit}.d/after.conf"
    there.put(drop_in, "[Unit]\nRequires=slow.service\nAfter=slow.service\n")

    def on(command: str) -> None:
        there.put("/run/systemd/system/slow.service", f"[Service]\nType=oneshot\nExecStart={command}\n")
        there.systemctl("daemon-reload")

    yield on
    there.sh(f"rm {drop_in}; systemctl daemon-reload; systemctl reset-failed slow.service || :").check()


async def test_a_start_that_waits_for_another_unit_is_starting(
    staged: Staged, dependent: Callable[[str], None]
) -> None:
    dependent("sleep 0.7")
    async with staged() as stage:
        stage.script(ONE)
        starting = asyncio.create_task(stage.backend.start(ONE))
        instance = (await stage.until(reached(InstanceState.STARTING, ONE)))[ONE]
        assert instance.pid is None
        await starting
        await stage.until(ready(ONE))


async def test_a_start_fails_if_a_unit_that_it_requires_does(staged: Staged, dependent: Callable[[str], None]) -> None:
    dependent("/bin/false")
    async with staged() as stage:
        with pytest.raises(BackendError, match="a unit that it requires failed"):
            await stage.backend.start(ONE)
        assert await stage.settle() == {}


async def test_a_start_that_comes_to_nothing_while_there_is_no_bus_is_not_waited_for(
    staged: Staged, dependent: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pid1, "PAUSES", (4.0,))
    runs = "[ $(systemctl show --property=ActiveState --value slow) = activating ]"

    dependent("sh -c 'until [ -e /run/slow-may-fail ]; do sleep 0.05; done; exit 1'")
    async with staged() as stage:
        starting = asyncio.create_task(stage.backend.start(ONE))
        await stage.until(reached(InstanceState.STARTING, ONE))
        await run(stage, f"until {runs}; do sleep 0.1; done")
        await run(stage, f"{KILL_BUS}; touch /run/slow-may-fail")
        await starting
        await stage.until(gone(ONE))


# --- as trapd's own user --------------------------------------------------------------------------------------------


def as_trapd(machine: Machine, *orders: str) -> dict[str, dict[str, str]]:
    done = machine.run("/opt/trapd/bin/python", f"{SHARED}/driver.py", "verbs", *orders, user="trapd")
    answers: dict[str, dict[str, str]] = json.loads(done.check())
    return answers


async def test_an_unprivileged_trapd_may_do_all_verbs(staged: Staged, there: Machine) -> None:
    async with staged() as stage:
        for id in (ONE, TWO):
            stage.script(id, drain=None)
        stage.script(OTHER, leave_after=0.0)
        told = as_trapd(there, *(f"start:{id}" for id in (ONE, TWO, OTHER)))
        assert set(told["results"].values()) == {""}
        await stage.until(lambda seen: ready(ONE, TWO)(seen) and reached(InstanceState.FAILED, OTHER)(seen))
        told = as_trapd(there, f"drain:{ONE}", f"kill:{TWO}", f"forget:{OTHER}")
        assert set(told["results"].values()) == {""}
        await stage.until(lambda seen: reached(InstanceState.DRAINING, ONE)(seen) and gone(OTHER)(seen))
        await stage.until(reached(InstanceState.FAILED, TWO))


async def test_a_restart_of_polkit_is_not_noticed(staged: Staged, there: Machine) -> None:
    async with staged() as stage:
        ids = many(16)
        for id in ids:
            stage.script(id)
        storm = asyncio.create_task(run(stage, "for i in 1 2 3 4; do systemctl restart polkit; sleep 0.2; done"))
        told = await asyncio.to_thread(as_trapd, there, *(f"start:{id}" for id in ids))
        assert set(told["results"].values()) == {""}
        await stage.until(ready(*ids))
        await storm


async def test_without_the_right_a_verb_says_so(staged: Staged, there: Machine) -> None:
    async with staged() as stage:
        stage.script(ONE)
        done = there.run("/opt/trapd/bin/python", f"{SHARED}/driver.py", "verbs", f"start:{ONE}", user="daemon")
        told = json.loads(done.check())["results"][f"start:{ONE}"]
        assert told.startswith(f"cannot start {ONE}: systemd does not allow it; is trapd's polkit rule installed")
        assert await stage.settle() == {}


@pytest.mark.parametrize(("how", "job"), [("stop", "stop"), ("restart", "restart"), ("kill", "")])
def test_trapd_knows_what_systemd_is_doing_to_it(there: Machine, how: str, job: str) -> None:
    unit = ["--unit=itself", "--collect", "--uid=trapd", "-p", "Type=notify", "-p", "NotifyAccess=main"]
    there.run("systemd-run", *unit, "/opt/trapd/bin/python", f"{SHARED}/driver.py", "job", "/tmp/told").check()
    there.systemctl(how, "itself")
    wait(lambda: there.exists("/tmp/told"))
    told, down, took = json.loads(there.read("/tmp/told"))
    print(f"asked in {took * 1000:.1f} ms")
    assert (told, down) == (job, False)
    there.sh("systemctl stop itself || :; rm /tmp/told").check()


# --- how fast -------------------------------------------------------------------------------------------------------


async def test_ready_is_seen_within_50_ms_of_the_workers_word(staged: Staged, folder: Path) -> None:
    """Measured from the report, which the worker writes just before, to what ``observe`` shows."""
    took: list[float] = []

    async with staged() as stage:
        for id in many(20):
            await start(stage, id)
            seen_at = time.time()
            report = json.loads((folder / "instances" / f"{id.name}.json").read_text())
            took.append(seen_at - report["wall"])
            await stage.backend.kill(id)
    print(
        f"READY seen after {statistics.median(took) * 1000:.1f} ms (max {max(took) * 1000:.1f}) in {len(took)} starts"
    )
    assert sorted(took)[len(took) // 4] < 0.05  # where other tests run beside this one, the rest waits for a processor


async def test_64_instances_are_started_and_adopted(staged: Staged) -> None:
    async with staged() as stage:
        ids = many(64)
        for id in ids:
            stage.script(id, ping=False)
        began = time.monotonic()
        await asyncio.gather(*(stage.backend.start(id) for id in ids))
        started = time.monotonic()
        await stage.until(ready(*ids))
        all_ready = time.monotonic()
        async with connected(staged()) as later:
            adopted = time.monotonic()
            assert lasting(await look(later.backend)) == lasting(await look(stage.backend))
        print(f"64 started in {started - began:.2f} s, ready in {all_ready - began:.2f} s, adopted in ", end="")
        print(f"{(adopted - all_ready) * 1000:.0f} ms")
        draining = time.monotonic()
        await asyncio.gather(*(stage.backend.drain(id) for id in ids))
        await stage.until(gone(*ids))
        print(f"64 drained in {time.monotonic() - draining:.2f} s")
        assert adopted - all_ready < all_ready - began  # by the same machine, as slow as it is
