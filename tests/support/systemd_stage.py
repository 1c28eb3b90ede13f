"""A stage for the conformance suite on a real systemd: the backend runs here, in the test's own process, and speaks to
the PID 1 of a machine through that machine's bus; the workers are units there, on tests/support/stub_worker.py.

Machine and test share one folder, for the workers' scripts and reports, and one CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from blockbuster import BlockBuster

from tests.support.machine import Machine
from tests.support.stages import PATIENCE, START_TIMEOUT, STUB, WATCHDOG, LeapingClock, Script, Seen, look
from trapd.backend.systemd.backend import SystemdBackend
from trapd.model import InstanceId
from trapd.settings import Settings, WatchSettings
from trapd.spec import Application, PoolSpec
from trapd.units import layout
from trapd.units.render import template, template_name

ROOT = Path(__file__).parents[2]

POOLS = ("default", "gpu")
SHARED = "/srv/stage"  # in the machine
# Of the units that are shipped, what a test is about, and whom they start.
_DROP_IN = """
[Unit]
StartLimitIntervalSec=60
StartLimitBurst={burst}

[Service]
ExecStart=
ExecStart=/bin/sh -c 'exec /usr/bin/python3 -I -S -X faulthandler {shared}/stub_worker.py {pool}@%i {shared} \
    "$$(cat {shared}/scripts/{pool}@%i.json)"'
ReadWritePaths={shared}
TimeoutStartSec={start_timeout}
WatchdogSec={watchdog}
TimeoutAbortSec=5
TimeoutStopSec={stop_time}
Restart={restart}
RestartSec={restart_sec}
"""
_SETTINGS = Settings(
    file=Path("/etc/trapd/trapd.toml"),
    backend="systemd",
    state_directory=Path("/var/lib/trapd"),
    runtime_directory=Path("/run/trapd"),
    application=Application("a:b", "/c", "/p"),
    watch=WatchSettings(("trap",), 2.0, 120.0),
    pools=tuple(PoolSpec(pool) for pool in POOLS),
)


def prepare(folder: Path) -> list[str]:
    """Lay out the shared folder; returns the options for systemd-nspawn that show it to a machine."""
    for name in ("scripts", "instances"):
        (folder / name).mkdir()
    for path in (folder, folder / "instances"):
        path.chmod(0o777)  # workers write there, who are not us
    (folder / "stub_worker.py").write_text(STUB.read_text())
    return [f"--bind={folder}:{SHARED}"]


def put_units(
    machine: Machine,
    *,
    restart: str = "no",
    restart_sec: float = 0.1,
    burst: int = 1000,
    start_timeout: float = START_TIMEOUT,
    watchdog: float = WATCHDOG,
    stop_time: float | str = "infinity",
) -> None:
    """The shipped template of each pool, with the stub in the worker's place. Every default makes the unit behave as
    the contract says of a backend alone.
    """
    if not machine.exists("/etc/systemd/system/trapd-workers.slice"):
        _put_shipped(machine)
    for pool in POOLS:
        text = _DROP_IN.format(
            pool=pool,
            shared=SHARED,
            restart=restart,
            restart_sec=restart_sec,
            burst=burst,
            start_timeout=start_timeout,
            watchdog=watchdog,
            stop_time=stop_time,
        )
        machine.put(f"/run/systemd/system/{template_name(pool)}.d/stage.conf", text)
    machine.systemctl("daemon-reload")


def _put_shipped(machine: Machine) -> None:
    shipped = {file.path.name: file for file in layout.placed(ROOT / "systemd", Path("/opt/trapd/bin"))}
    machine.put("/etc/sysusers.d/trapd.conf", (ROOT / "systemd/sysusers.d/trapd.conf").read_text())
    machine.run("systemd-sysusers").check()
    base = shipped["trapd-worker@.service.in"].text
    for pool in _SETTINGS.pools:
        machine.put(f"/run/systemd/system/{template_name(pool.name)}", template(_SETTINGS, pool, base))
    machine.put("/etc/systemd/system/trapd-workers.slice", shipped["trapd-workers.slice"].text)


class SystemdStage:
    """``scripts`` may be given in the stub's own words."""

    def __init__(self, machine: Machine, folder: Path, watchdog: float = WATCHDOG) -> None:
        self.machine, self.folder = machine, folder
        self.changed: list[str] = []
        self.clock = LeapingClock()
        self.backend = SystemdBackend(
            reports=folder / "instances",
            clock=self.clock,
            on_change=self._on_change,
            bus_address=f"unix:path=/proc/{machine.leader}/root/run/dbus/system_bus_socket",
            journalctl=machine.command("journalctl"),
            watchdog=watchdog,
        )
        self._wake = asyncio.Event()
        self._blocking = BlockBuster("trapd")  # a call of ours that blocks the loop is a failure

    def _on_change(self, pool: str) -> None:
        self.changed.append(pool)
        self._wake.set()

    async def __aenter__(self) -> SystemdStage:
        self._blocking.activate()
        await self.backend.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leaves no unit behind."""
        try:
            for id in await look(self.backend):
                await self.backend.kill(id)
            await self.until(lambda seen: not any(one.pid for one in seen.values()))
            for id in await look(self.backend):
                await self.backend.forget(id)
            await self.until(lambda seen: not seen)
        finally:
            await self.backend.close()
            self._blocking.deactivate()

    def script(self, id: InstanceId, **script: object) -> None:
        (self.folder / "scripts" / f"{id.name}.json").write_text(json.dumps(script))

    def set(self, id: InstanceId, script: Script) -> None:
        self.script(
            id,
            ready_after=script.ready_after,
            drain=script.drain,
            drain_status=script.drain_status,
            leave_after=script.leave_after,
            status=script.status or f"ready, {script.active_tasks} active",
            ping=not script.silent,
            strays=script.strays,
            words=script.words,
            **({"code_failure": script.code_failure} if script.code_failure else {}),
            **({"prolong": script.prolong} if script.prolong is not None else {}),
        )

    async def go_on(self, id: InstanceId) -> None:
        (self.folder / f"{id.name}.go").touch()

    async def until(self, condition: Callable[[Seen], bool]) -> Seen:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not condition(seen := await look(self.backend)):
                    await self._wake.wait()  # so a change that is not told is a test that fails (B10)
                    self._wake.clear()
                return seen
        there = self.machine.sh("systemctl list-units --all 'trapd-worker-*'; journalctl --no-pager -n 60").out
        raise AssertionError(f"it does not happen: {await look(self.backend)}\n{there}")

    async def settle(self) -> Seen:
        await asyncio.sleep(0.2)
        return await look(self.backend)

    def age(self, seconds: float) -> None:
        self.clock.leap += seconds

    async def stand_still(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the loop's: workers are judged by PID 1, which goes on
