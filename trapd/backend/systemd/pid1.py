"""PID 1 over the bus: calls that survive a re-execution of PID 1 and a restart of the bus, and a connection that is
made again."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Callable
from typing import Any

from trapd.backend.systemd import names
from trapd.backend.systemd.bus import Bus, BusError, LostError, Signal
from trapd.backend.systemd.facts import SERVICE_PROPERTIES, Facts
from trapd.backend.systemd.names import JOB, MANAGER, PROPERTIES, ROOT, SERVICE, SYSTEMD, UNIT
from trapd.model import InstanceId, Memory

log = logging.getLogger("trapd.backend.systemd")
PATIENCE = 20.0  # s without a connection after which a call fails
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # s between attempts to connect; the last pause repeats for ever
AT_ONCE = 64  # calls under way; the bus allows a connection 128
KILL = 9
# systemd.special(7): every unit that ends at shutdown conflicts with this target, so every shutdown begins with its
# job. SystemState, which is "stopping" from then on, has no signal of its own.
SHUTDOWN = "shutdown.target"


_UNKNOWN = 2**64 - 1  # UINT64_MAX: no value, or no limit


class Pid1:
    """``on_facts`` gets each change of one of our units, ``on_job`` the object path and result of each job that ends.

    ``on_shutdown`` is called when PID 1 begins to shut the machine down, before it stops any unit; with False, when
    somebody has cancelled that (`systemctl cancel`).
    ``on_gap`` is called when a signal may have been missed: list the units again. Its argument is true if the end of a
    job may be missed: by a lost connection, but not by PID 1's reload or re-execution.
    """

    def __init__(
        self,
        *,
        address: str | None,
        on_facts: Callable[[InstanceId, Facts], None],
        on_job: Callable[[str, str], None],
        on_gap: Callable[[bool], None],
        on_shutdown: Callable[[bool], None],
    ) -> None:
        self._on_shutdown = on_shutdown
        self._address, self._on_facts, self._on_job, self._on_gap = address, on_facts, on_job, on_gap
        self._bus = Bus(address, self._receive)
        self._up = asyncio.Event()
        self._service: dict[InstanceId, dict[str, Any]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._at_once = asyncio.Semaphore(AT_ONCE)

    # -- the connection --------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and stay connected until ``close``. Raises LostError or BusError if it cannot in PATIENCE."""
        await self._connect_in_time(asyncio.get_running_loop().time() + PATIENCE)
        self._keeper = asyncio.create_task(self._keep(), name="connection to systemd")

    async def kept_connected(self) -> None:
        """Return at ``close``. Raises an unexpected error that has ended the connection: no signal arrives after it."""
        assert self._keeper is not None
        await asyncio.wait([self._keeper])  # not ``await self._keeper``: a cancelled waiter must not end the task
        self._keeper.result()

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._up.clear()
        await self._bus.close()

    async def _connect(self) -> None:
        bus = Bus(self._address, self._receive)
        try:
            await bus.connect()
            # The rules come first: signals between Subscribe and a rule would be missed.
            for member in ("JobRemoved", "Reloading"):
                await bus.match(sender=SYSTEMD, interface=MANAGER, member=member)
            await bus.match(sender=SYSTEMD, interface=MANAGER, member="JobNew", arg2=SHUTDOWN)
            await bus.match(
                sender=SYSTEMD, interface=PROPERTIES, member="PropertiesChanged", path_namespace=names.UNITS
            )
            await bus.match(sender="org.freedesktop.DBus", member="NameOwnerChanged", arg0=SYSTEMD)
            self._bus = bus
            await self._subscribe()
        except BaseException:
            await bus.close()
            raise
        self._up.set()

    async def _subscribe(self) -> None:
        """Subscribe: without that PID 1 sends no signals."""
        try:
            await self._bus.call(SYSTEMD, ROOT, MANAGER, "Subscribe")
        except BusError as error:
            if not error.name.endswith(".AlreadySubscribed"):
                raise

    async def _connect_in_time(self, deadline: float) -> None:
        """Try until a connection succeeds: PID 1 connects to the bus only some time after the bus has started."""
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            try:
                await self._connect()
                return
            except (LostError, BusError):
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)

    async def _keep(self) -> None:
        while True:
            why = await self._bus.lost()
            self._up.clear()
            self._service.clear()
            log.warning("lost the connection to systemd: %s; connecting again", why)
            await asyncio.sleep(PAUSES[0])
            await self._connect_in_time(math.inf)
            log.info("connected to systemd again")
            self._on_gap(True)

    # -- signals of PID 1 ------------------------------------------------------------------------------------------

    def _receive(self, signal: Signal) -> None:
        match signal.member, signal.body:
            case "PropertiesChanged", [str(interface), dict(properties), *_]:
                id = names.instance_at(signal.path)
                if id is not None:
                    self._changed(id, interface, properties)
            case "JobRemoved", [_, str(path), str(unit), str(result)]:
                self._on_job(path, result)
                self._job_ended(unit, result)
            case "JobNew", [_, _, str(unit)] if unit == SHUTDOWN:
                self._on_shutdown(True)
            case ("Reloading", [False]) | ("NameOwnerChanged", [str(), str(), str()]):
                self._on_gap(False)

    def _job_ended(self, unit: str, result: str) -> None:
        if unit == SHUTDOWN and result != "done":  # ``shutdown -c``: the machine stays up
            self._on_shutdown(False)

    def _changed(self, id: InstanceId, interface: str, properties: dict[str, Any]) -> None:
        """Join two signals: PID 1 sends the service's properties first and the unit's directly after them, each with
        all properties that can change."""
        if interface == SERVICE:
            self._service[id] = properties
        elif interface == UNIT:
            service = self._service.pop(id, None)
            if service is None:  # sent before we subscribed
                self._on_gap(False)
            else:
                self._on_facts(id, Facts.read(properties, service))

    # -- calls -----------------------------------------------------------------------------------------------------

    async def start(self, unit: str) -> str:
        """Start a unit; return the job's object path. Never replaces a stop that is under way. This and all other calls
        raise BusError and LostError."""
        return str((await self._call_manager("StartUnit", "ss", unit, "fail"))[0])

    async def stop(self, unit: str) -> str:
        """Stop a unit; return the job's object path."""
        return str((await self._call_manager("StopUnit", "ss", unit, "replace"))[0])

    async def kill(self, unit: str) -> None:
        """Send SIGKILL to all processes of a unit."""
        await self._call_manager("KillUnit", "ssi", unit, "all", KILL)

    async def reset_failed(self, unit: str) -> None:
        await self._call_manager("ResetFailedUnit", "s", unit)

    async def units(self) -> list[InstanceId]:
        """Return the workers of trapd that PID 1 has loaded: all that run, have failed, or have a job."""
        await self._subscribe()
        listed = (await self._call_manager("ListUnitsByPatterns", "asas", [], [names.PATTERN]))[0]
        ids = (names.instance(str(unit[0])) for unit in listed)
        return [id for id in ids if id is not None]

    async def facts(self, id: InstanceId) -> Facts:
        """Return the facts of a unit. GetAll on its Service interface would cost PID 1 5 ms for each unit; these calls
        together cost 1 ms."""
        path = names.object_path(id)
        unit, *service = await asyncio.gather(
            self._call(path, PROPERTIES, "GetAll", "s", UNIT),
            *(self._call(path, PROPERTIES, "Get", "ss", SERVICE, name) for name in SERVICE_PROPERTIES),
        )
        values = {name: value[0] for name, value in zip(SERVICE_PROPERTIES, service, strict=True)}
        return Facts.read(unit[0], values)

    async def alive(self, id: InstanceId) -> float:
        """Return when its last WATCHDOG=1 came, in seconds of CLOCK_MONOTONIC; 0 for never. PID 1 sends no signal of
        it."""
        path = names.object_path(id)
        stamp = await self._call(path, PROPERTIES, "Get", "ss", SERVICE, "WatchdogTimestampMonotonic")
        return float(stamp[0]) / 1e6

    async def memory(self, id: InstanceId) -> Memory | None:
        """Return the memory that its cgroup uses, and may use. PID 1 reads both when it is asked."""
        path = names.object_path(id)
        used, limit = await asyncio.gather(
            self._call(path, PROPERTIES, "Get", "ss", SERVICE, "MemoryCurrent"),
            self._call(path, PROPERTIES, "Get", "ss", SERVICE, "MemoryMax"),
        )
        if used[0] == _UNKNOWN:
            return None
        return Memory(int(used[0]), None if limit[0] == _UNKNOWN else int(limit[0]))

    async def own_job(self) -> str:
        """Return PID 1's job for the unit of this process: stop, restart, ...; empty if there is none."""
        unit = (await self._call_manager("GetUnitByPID", "u", 0))[0]
        number, job = (await self._call(unit, PROPERTIES, "Get", "ss", UNIT, "Job"))[0]
        if not number:
            return ""
        try:
            return str((await self._call(job, PROPERTIES, "Get", "ss", JOB, "JobType"))[0])
        except BusError:  # it has ended meanwhile
            return ""

    async def system_state(self) -> str:
        """Return running, degraded, starting, stopping, ..."""
        return str((await self._call(ROOT, PROPERTIES, "Get", "ss", MANAGER, "SystemState"))[0])

    async def _call_manager(self, member: str, signature: str, *body: Any) -> list[Any]:
        """Call the manager; call again if the answer is lost, because PID 1 may or may not have carried the call out.
        So use this only for calls that may be repeated."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._up.wait()
                return await self._call(ROOT, MANAGER, member, signature, *body)
            except TimeoutError:
                raise LostError(f"no connection to systemd for {PATIENCE:g} s") from None
            except LostError as error:
                if asyncio.get_running_loop().time() + PAUSES[0] >= deadline:
                    raise
                log.info("%s; asking again", error)
                await asyncio.sleep(PAUSES[0])

    async def _call(self, path: str, interface: str, member: str, signature: str, *body: Any) -> list[Any]:
        async with self._at_once:
            return await self._bus.call(SYSTEMD, path, interface, member, signature, *body)
