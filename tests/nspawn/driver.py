"""Runs in a machine, on its virtual environment: the backend as a trapd there would use it, as whatever user.

driver.py verbs start:default@7-1 start:default@7-2 drain:default@7-1 ...     all at once; prints what came of each
driver.py job FILE      as a unit: waits for SIGTERM, then writes its own job and whether the machine goes down
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from trapd.backend.systemd import SystemdBackend
from trapd.contracts import Clock
from trapd.errors import BackendError
from trapd.model import InstanceId


class SystemClock(Clock):
    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


async def verbs(backend: SystemdBackend, *orders: str) -> None:
    async def do(order: str) -> tuple[str, str]:
        verb, _, name = order.partition(":")
        try:
            await getattr(backend, verb)(InstanceId.parse(name))
        except BackendError as error:
            return order, str(error)
        return order, ""

    results = dict(await asyncio.gather(*(do(order) for order in orders)))
    seen = {one.id.name: one.state for one in await backend.observe()}
    print(json.dumps({"results": results, "seen": seen}))


async def job(backend: SystemdBackend, file: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    await stop.wait()
    began = time.monotonic()
    told = [await backend.own_job(), await backend.shuts_down()]
    took = time.monotonic() - began
    fresh = Path(f"{file}.new")
    await asyncio.to_thread(fresh.write_text, json.dumps([*told, took]))
    await asyncio.to_thread(fresh.rename, file)


async def main() -> None:
    backend = SystemdBackend(reports=Path("/srv/stage/instances"), clock=SystemClock(), on_change=lambda pool: None)
    await backend.open()
    await (verbs if sys.argv[1] == "verbs" else job)(backend, *sys.argv[2:])
    await backend.close()


asyncio.run(main())
