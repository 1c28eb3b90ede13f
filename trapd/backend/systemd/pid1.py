"""PID 1 over the bus: calls that survive its re-execution and the bus's death, and a connection that comes back."""

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
PATIENCE = 20.0  # s until a call is given up for which no connection can be had
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # s between tries to connect; the last one for ever
AT_ONCE = 64  # calls under way; the bus allows a connection 128
KILL = 9
# systemd.special(7): whatever is to end when the machine goes down conflicts with it, so every way down begins with its
# job. SystemState, which says "stopping" from then on, has no signal of its own.
SHUTDOWN = "shutdown.target"


_UNKNOWN = 2**64 - 1  # UINT64_MAX: no value, or no limit


class Pid1:
    """``on_facts`` gets each change of one of our units, ``on_job`` the object path and result of each job that ends.

    ``on_shutdown`` is called when PID 1 begins to take the machine down, before it tells any unit.
    ``on_gap`` is called when something may have gone unheard: list the units again. Its argument says whether that may
    be the end of a job: PID 1's reload or re-execution hides none, a lost connection does.
    """

    def __init__(
        self,
        *,
        address: str | None,
        on_facts: Callable[[InstanceId, Facts], None],
        on_job: Callable[[str, str], None],
        on_gap: Callable[[bool], None],
        on_shutdown: Callable[[], None],
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
        """Until ``close``. Raises what nobody foresaw, if that ends the keeping of the connection: we are deaf then."""
        assert self._keeper is not None
        await asyncio.wait([self._keeper])  # not for itself: that it is no longer waited for must not end it
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
            # The rules first: what happens between Subscribe and a rule would go unheard.
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
        """Without it PID 1 keeps its signals to itself."""
        try:
            await self._bus.call(SYSTEMD, ROOT, MANAGER, "Subscribe")
        except BusError as error:
            if not error.name.endswith(".AlreadySubscribed"):
                raise

    async def _connect_in_time(self, deadline: float) -> None:
        """Try until it succeeds: PID 1 is on the bus only some time after the bus is there."""
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

    # -- what it says ----------------------------------------------------------------------------------------------

    def _receive(self, signal: Signal) -> None:
        match signal.member, signal.body:
            case "PropertiesChanged", [str(interface), dict(properties), *_]:
                id = names.instance_at(signal.path)
                if id is not None:
                    self._changed(id, interface, properties)
            case "JobRemoved", [_, str(path), str(), str(result)]:
                self._on_job(path, result)
            case "JobNew", [_, _, str(unit)] if unit == SHUTDOWN:
                self._on_shutdown()
            case ("Reloading", [False]) | ("NameOwnerChanged", [str(), str(), str()]):
                self._on_gap(False)

    def _changed(self, id: InstanceId, interface: str, properties: dict[str, Any]) -> None:
        """PID 1 sends a service's properties first and the unit's right after, with all that can change in each."""
        if interface == SERVICE:
            self._service[id] = properties
        elif interface == UNIT:
            service = self._service.pop(id, None)
            if service is None:  # sent before we subscribed
                self._on_gap(False)
            else:
                self._on_facts(id, Facts.read(properties, service))

    # -- what we ask -----------------------------------------------------------------------------------------------

    async def start(self, unit: str) -> str:
        """The job's object path. Never in place of a stop that is under way. All of these raise BusError, LostError."""
        return str((await self._call_manager("StartUnit", "ss", unit, "fail"))[0])

    async def stop(self, unit: str) -> str:
        """The job's object path."""
        return str((await self._call_manager("StopUnit", "ss", unit, "replace"))[0])

    async def kill(self, unit: str) -> None:
        """SIGKILL to all its processes."""
        await self._call_manager("KillUnit", "ssi", unit, "all", KILL)

    async def reset_failed(self, unit: str) -> None:
        await self._call_manager("ResetFailedUnit", "s", unit)

    async def units(self) -> list[InstanceId]:
        """Those of our units that PID 1 has loaded: all that run, failed, or have a job."""
        await self._subscribe()
        listed = (await self._call_manager("ListUnitsByPatterns", "asas", [], [names.PATTERN]))[0]
        found = (names.instance(str(unit[0])) for unit in listed)
        return [id for id in found if id is not None]

    async def facts(self, id: InstanceId) -> Facts:
        """Not by GetAll on its Service interface: that costs PID 1 5 ms for each unit, these calls together 1 ms."""
        path = names.object_path(id)
        unit, *service = await asyncio.gather(
            self._call(path, PROPERTIES, "GetAll", "s", UNIT),
            *(self._call(path, PROPERTIES, "Get", "ss", SERVICE, name) for name in SERVICE_PROPERTIES),
        )
        values = {name: value[0] for name, value in zip(SERVICE_PROPERTIES, service, strict=True)}
        return Facts.read(unit[0], values)

    async def alive(self, id: InstanceId) -> float:
        """When its last WATCHDOG=1 came, in seconds of CLOCK_MONOTONIC; 0 for never. PID 1 tells it to who asks."""
        path = names.object_path(id)
        found = await self._call(path, PROPERTIES, "Get", "ss", SERVICE, "WatchdogTimestampMonotonic")
        return float(found[0]) / 1e6

    async def memory(self, id: InstanceId) -> Memory | None:
        """What its cgroup uses, and may use. PID 1 reads that when it is asked."""
        path = names.object_path(id)
        used, limit = await asyncio.gather(
            self._call(path, PROPERTIES, "Get", "ss", SERVICE, "MemoryCurrent"),
            self._call(path, PROPERTIES, "Get", "ss", SERVICE, "MemoryMax"),
        )
        if used[0] == _UNKNOWN:
            return None
        return Memory(int(used[0]), None if limit[0] == _UNKNOWN else int(limit[0]))

    async def own_job(self) -> str:
        """What PID 1 is doing to this very process's unit: stop, restart, ...; empty if nothing."""
        unit = (await self._call_manager("GetUnitByPID", "u", 0))[0]
        number, job = (await self._call(unit, PROPERTIES, "Get", "ss", UNIT, "Job"))[0]
        if not number:
            return ""
        try:
            return str((await self._call(job, PROPERTIES, "Get", "ss", JOB, "JobType"))[0])
        except BusError:  # it has ended meanwhile
            return ""

    async def system_state(self) -> str:
        """running, degraded, starting, stopping, ..."""
        return str((await self._call(ROOT, PROPERTIES, "Get", "ss", MANAGER, "SystemState"))[0])

    async def _call_manager(self, member: str, signature: str, *body: Any) -> list[Any]:
        """Call the manager; again if the answer was lost, for a lost answer does not tell what was done. So every call
        made by this must be one that can be made twice."""
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
