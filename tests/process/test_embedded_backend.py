"""What the embedded backend promises and only real processes can show."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import ended
from tests.support.stages import STUB, EmbeddedStage, Seen
from tests.support.worker_lab import wait
from trapd.backend.embedded import backend
from trapd.backend.embedded.spawn import start_time
from trapd.model import Failure, FailureKind, InstanceId, InstanceState

ONE, TWO = InstanceId("default", 7, 1), InstanceId("default", 7, 2)


def patient(directory: Path, start_timeout: float = 10.0, watchdog: float = 10.0) -> EmbeddedStage:
    """A stage on which nobody is to die of a busy machine."""
    return EmbeddedStage(directory, start_timeout, watchdog)


def reached(state: InstanceState, id: InstanceId = ONE) -> Callable[[Seen], bool]:
    return lambda seen: id in seen and seen[id].state is state


def gone(id: InstanceId = ONE) -> Callable[[Seen], bool]:
    return lambda seen: id not in seen


async def start(stage: EmbeddedStage, state: InstanceState = InstanceState.READY, **script: object) -> Seen:
    stage.scripts[ONE] = script
    await stage.backend.start(ONE)
    return await stage.until(reached(state))


async def fail(stage: EmbeddedStage, **script: object) -> Failure:
    failure = (await start(stage, InstanceState.FAILED, **script))[ONE].failure
    assert failure is not None
    return failure


def written(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def lines(path: Path, at_least: int = 1) -> list[str]:
    """What a stub has written there, once it is so much."""
    await asyncio.to_thread(wait, lambda: len(written(path)) >= at_least)
    return written(path)


async def ends(pid: int) -> bool:
    await asyncio.to_thread(wait, lambda: ended(pid))
    return True


# --- who speaks, who is asked ---------------------------------------------------------------------------------------


async def test_b3_a_workers_child_cannot_speak_for_it(short_path: Path) -> None:
    async with patient(short_path) as stage:
        stage.scripts[ONE] = {"ready_after": None, "child": str(short_path / "child"), "child_says": "READY=1"}
        await stage.backend.start(ONE)
        await lines(short_path / "child")
        assert (await stage.settle())[ONE].state is InstanceState.STARTING


async def test_b3_a_stranger_cannot_speak_for_a_worker(short_path: Path) -> None:
    async with patient(short_path) as stage:
        stage.scripts[ONE] = {"ready_after": None}
        await stage.backend.start(ONE)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.sendto(b"READY=1\nMAINPID=1", str(stage.runtime / "notify.sock"))
        assert (await stage.settle())[ONE].state is InstanceState.STARTING


async def test_b4_the_main_process_alone_is_asked_to_drain(short_path: Path) -> None:
    async with patient(short_path) as stage:
        main, child = short_path / "main", short_path / "child"
        await start(stage, drain=0.3, note=str(main), child=str(child))
        await lines(child)
        await stage.backend.drain(ONE)
        await stage.until(gone())
        assert (await lines(main, 2))[1:] == [f"signal {signal.SIGTERM:d}"]
        assert len(await lines(child)) == 1  # its process id, and no signal


async def test_what_a_drained_worker_leaves_in_its_group_is_ended(short_path: Path) -> None:
    async with patient(short_path) as stage:
        await start(stage, child=str(short_path / "child"))
        [child] = await lines(short_path / "child")
        assert not ended(int(child))
        await stage.backend.drain(ONE)
        await stage.until(gone())
        assert await ends(int(child))


async def test_b7_a_kill_ends_every_process_that_the_worker_started(short_path: Path) -> None:
    async with patient(short_path) as stage:
        await start(stage, drain=None, child=str(short_path / "child"))
        [child] = await lines(short_path / "child")
        await stage.backend.kill(ONE)
        await stage.until(reached(InstanceState.FAILED))
        assert await ends(int(child))


async def test_a_worker_told_to_stop_by_somebody_else_is_draining_and_then_absent(short_path: Path) -> None:
    async with patient(short_path) as stage:
        pid = (await start(stage, drain=None, stopping=True))[ONE].pid
        assert pid
        os.kill(pid, signal.SIGTERM)
        await stage.until(reached(InstanceState.DRAINING))
        await stage.go_on(ONE)
        await stage.until(gone())


# --- how it ends ----------------------------------------------------------------------------------------------------


async def test_b6_one_that_had_nothing_to_start_says_so_itself(short_path: Path) -> None:
    async with patient(short_path) as stage:
        words = "[2026-11-27 20:00:00,000: ERROR/MainProcess] trapd-worker: cannot start: there is no generation 7"
        failure = await fail(stage, leave_after=0.0, leave_status=78, words=words)
        assert failure.summary == "exited with status 78: cannot start: there is no generation 7"
        assert failure.detail == words


async def test_b6_leaving_with_exit_status_0_unasked_is_a_failure_too(short_path: Path) -> None:
    async with patient(short_path) as stage:
        failure = await fail(stage, leave_after=0.0, leave_status=0)
        assert failure.summary == "exited with status 0 without being asked to"


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGSEGV, "was killed by SIGSEGV"), (signal.SIGKILL, "out of memory")]
)
async def test_b6_the_signal_that_ended_it_is_named(short_path: Path, number: int, words: str) -> None:
    async with patient(short_path) as stage:
        failure = await fail(stage, leave_after=0.0, leave_signal=number)
        assert failure.kind is FailureKind.CRASH
        assert words in failure.summary


async def test_b6_passwords_are_masked_wherever_they_come_from(short_path: Path) -> None:
    url = "amqp://guest:se:cr@et@broker//"

    async with patient(short_path) as stage:
        assert (await fail(stage, leave_after=0.0, words=f"lost {url}")).detail == "lost amqp://guest:***@broker//"
        failure = await fail(stage, code_failure=f"cannot reach {url}", words=f"lost {url}")
        assert "et@" not in failure.summary + failure.detail
        instance = (await start(stage, status=f"ready, 0 active, at {url}"))[ONE]
        assert instance.status == "ready, 0 active, at amqp://guest:***@broker//"


@pytest.mark.parametrize("command", [["/nowhere/python"], ValueError("there is no generation 7"), KeyError("python")])
async def test_a_worker_that_cannot_be_executed_is_failed(short_path: Path, command: list[str] | Exception) -> None:
    def cannot(id: InstanceId) -> tuple[list[str], dict[str, str]]:
        if isinstance(command, Exception):  # the last: of a manifest that lacks it
            raise command
        return command, {}

    async with patient(short_path) as stage:
        stage.backend._command = cannot
        failure = await fail(stage)
        assert failure.kind is FailureKind.CRASH
        assert failure.summary.startswith("cannot start: ")
        assert (await stage.backend.observe())[0].failures == 1


async def test_the_log_of_the_run_before_is_kept(short_path: Path) -> None:
    async with patient(short_path) as stage:
        for words in ("first", "second", "third"):
            await fail(stage, leave_after=0.0, words=words)
        assert (stage.logs / "default@7-1.log").read_text() == "third\n"
        assert (stage.logs / "default@7-1.log.1").read_text() == "second\n"


async def test_drained_before_it_could_be_started_it_never_runs(short_path: Path) -> None:
    async with patient(short_path) as stage:
        stage.scripts[ONE] = {"note": str(short_path / "note")}
        starting = asyncio.create_task(stage.backend.start(ONE))
        await asyncio.sleep(0)
        await stage.backend.drain(ONE)
        await starting
        await stage.until(gone())
        await stage.settle()
        assert not (short_path / "note").exists()


# --- deadlines ------------------------------------------------------------------------------------------------------


async def test_b11_a_start_is_prolonged_by_extend_timeout(short_path: Path) -> None:
    async with patient(short_path, start_timeout=3.0) as stage:
        await start(stage, ready_after=4.0, extend=5.0)


async def test_b11_the_failure_shows_where_the_start_hung(short_path: Path) -> None:
    async with patient(short_path, start_timeout=3.0) as stage:
        failure = await fail(stage, ready_after=None, words="importing")
        assert failure.kind is FailureKind.TIMEOUT
        assert failure.detail.startswith("Fatal Python error: Aborted")
        assert "stub_worker.py" in failure.detail


async def test_b12_what_survives_the_abort_is_killed(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "ABORT_GRACE", 0.3)

    async with patient(short_path, watchdog=0.3) as stage:
        stage.scripts[ONE] = {"ping": False, "survives_abort": True, "status": "main loop stalled at x.py:3"}
        await stage.backend.start(ONE)
        await stage.until(reached(InstanceState.STOPPING))
        failure = (await stage.until(reached(InstanceState.FAILED)))[ONE].failure
        assert failure is not None
        assert failure.kind is FailureKind.WATCHDOG
        assert failure.summary.endswith("no sign of life for 0.3 s; its last status: main loop stalled at x.py:3")


# --- what it is given, what it says ---------------------------------------------------------------------------------


async def test_a_worker_gets_our_socket_and_nothing_of_our_own_from_systemd(short_path: Path) -> None:
    async with patient(short_path) as stage:
        stage.environment = {"LISTEN_FDS": "3", "WATCHDOG_PID": "1", "WATCHDOG_USEC": "5", "NOTIFY_SOCKET": "/x"}
        names = ["LISTEN_FDS", "WATCHDOG_PID", "WATCHDOG_USEC", "NOTIFY_SOCKET", "TRAPD_PARENT_PID"]
        failure = await fail(stage, leave_after=0.0, words="", show=names)
        assert failure.detail.split() == [
            "LISTEN_FDS=None",
            "WATCHDOG_PID=None",
            "WATCHDOG_USEC=10000000",
            f"NOTIFY_SOCKET={stage.runtime}/notify.sock",
            f"TRAPD_PARENT_PID={os.getpid()}",
        ]


async def test_a_module_loaded_from_elsewhere_later_on_is_noticed(short_path: Path) -> None:
    async with patient(short_path) as stage:
        report = (await start(stage, later=["trap.x=/elsewhere/x.py"]))[ONE].report
        assert report is not None
        assert not report.mixed
        await stage.go_on(ONE)
        seen = await stage.until(lambda seen: (report := seen[ONE].report) is not None and report.mixed)
        assert seen[ONE].active_tasks == 2


async def test_a_report_of_another_process_is_not_believed(short_path: Path) -> None:
    async with patient(short_path) as stage:
        stage.scripts[ONE] = {"report": False, "ready_after": None}
        await stage.backend.start(ONE)
        forged = '{"pid": 1, "generation": 9, "digest": "", "versions": {}, "strays": [], "failure": null}'
        (stage.runtime / "instances" / "default@7-1.json").write_text(forged)
        await stage.go_on(ONE)
        assert (await stage.until(reached(InstanceState.READY)))[ONE].report is None


# --- over the death of trapd ----------------------------------------------------------------------------------------


def orphan(runtime: Path, *, drain: float | None, started: int = 0) -> subprocess.Popen[bytes]:
    """A worker of an earlier trapd, which noted it and died. ``started``: what was noted, if it is not the truth."""
    (runtime / "instances").mkdir(parents=True)
    script = json.dumps({"drain": drain, "note": str(runtime / "note"), "report": False})
    command = [sys.executable, "-I", "-S", str(STUB), ONE.name, str(runtime), script]
    child = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": "/nowhere"}, start_new_session=True)
    noted = f"{child.pid} {started or start_time(child.pid)}\n"
    (runtime / "instances" / f"{ONE.name}.pid").write_text(noted)
    (runtime / "instances" / f"{ONE.name}.json").write_text("{}")
    wait(lambda: bool(written(runtime / "note")))
    return child


async def test_what_an_earlier_trapd_left_running_is_seen_as_draining_until_it_is_gone(short_path: Path) -> None:
    left = orphan(short_path / "run", drain=None)

    async with patient(short_path) as stage:
        seen = await stage.until(reached(InstanceState.DRAINING))
        assert seen[ONE].pid == left.pid
        await stage.backend.start(ONE)  # not beside the old one
        assert (await stage.settle())[ONE].pid == left.pid
        await stage.go_on(ONE)
        await asyncio.to_thread(left.wait)
        await stage.until(gone())
        assert list((stage.runtime / "instances").iterdir()) == []


async def test_an_orphan_that_does_not_leave_can_be_killed(short_path: Path) -> None:
    left = orphan(short_path / "run", drain=None)

    async with patient(short_path) as stage:
        await stage.until(reached(InstanceState.DRAINING))
        await stage.backend.kill(ONE)
        assert await asyncio.to_thread(left.wait) == -signal.SIGKILL
        await stage.until(gone())


async def test_a_process_that_only_got_the_same_number_is_left_alone(short_path: Path) -> None:
    stranger = orphan(short_path / "run", drain=0.0, started=1)

    try:
        async with patient(short_path) as stage:
            assert await stage.settle() == {}
            assert stranger.poll() is None
            assert list((stage.runtime / "instances").iterdir()) == []
    finally:
        stranger.kill()
        stranger.wait()


async def test_closing_tells_the_rest_to_drain_and_takes_the_socket_away(short_path: Path) -> None:
    stage = patient(short_path)
    await stage.backend.open()
    pid = (await start(stage, note=str(short_path / "note")))[ONE].pid
    await stage.backend.close()
    assert not (stage.runtime / "notify.sock").exists()
    assert pid
    assert os.waitpid(pid, 0) == (pid, 0)
    assert f"signal {signal.SIGTERM:d}" in (short_path / "note").read_text()


async def test_workers_are_heard_again_after_the_runtime_directory_was_removed(short_path: Path) -> None:
    async with patient(short_path) as stage:
        await start(stage)
        assert not await stage.backend.keep_listening()
        await asyncio.to_thread(shutil.rmtree, stage.runtime)
        assert await stage.backend.keep_listening()
        await stage.backend.start(TWO)
        seen = await stage.until(reached(InstanceState.READY, TWO))
        assert seen[ONE].state is InstanceState.READY
        noted = {path.name for path in (stage.runtime / "instances").glob("*.pid")}
        assert noted == {"default@7-1.pid", "default@7-2.pid"}  # a trapd after a crash finds both
