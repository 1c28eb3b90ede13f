"""The time from a wedge to the moment at which trapd can know of it.

Real workers on a private Redis, with the intervals that are in force everywhere, and a watchdog of 60 s. All wedges are
made at the same time. "Noticed": the worker is seen with an ailment, or its run has ended. A replacement starts then,
and takes tasks as soon as the application is imported.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

from tests.support.black_hole import BlackHole
from tests.support.brokers import Broker, on_redis, redis_server
from tests.support.snapshots import NAPS
from tests.support.stages import look
from tests.support.worker_lab import ONE, WorkerLab
from trapd.model import Ailment, InstanceState
from trapd.spec import PoolSpec

PATIENCE = 240.0  # s
JOBS = (
    NAPS
    + """
from celery.worker.control import control_command


@control_command()
def lose(state):
    consumer = state.consumer.task_consumer
    for tag in consumer._active_tags.values():
        consumer.channel.basic_cancel(tag)


@control_command()
def spin(state):
    while True:
        pass
"""
)
Wedge = Callable[[WorkerLab, int, BlackHole], None]


def cancelled(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    lab.client.control.cancel_consumer(lab.broker.queue)


def lost(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    lab.client.control.broadcast("lose")


def half_dead(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    hole.swallow_present()


def children_stopped(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGSTOP)


def main_stopped(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    os.kill(pid, signal.SIGSTOP)


def endless_loop(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    lab.client.control.broadcast("spin")


WEDGES: dict[str, Wedge] = {
    "cancel_consumer": cancelled,
    "a consumer that is lost": lost,
    "a connection whose packets are dropped": half_dead,
    "all children stopped (SIGSTOP)": children_stopped,
    "the main process stopped (SIGSTOP)": main_stopped,
    "an endless loop in the main process": endless_loop,
}


async def measure(lab: WorkerLab, wedge: Wedge, hole: BlackHole) -> tuple[float, str]:
    async with lab:
        pid = (await lab.start()).pid
        assert pid is not None
        await lab.call("nap", 0)
        await lab.ask("ping")
        began = time.monotonic()
        await asyncio.to_thread(wedge, lab, pid, hole)
        await asyncio.sleep(1)
        for _ in range(5):
            await lab.send("nap", 0)
        while (took := time.monotonic() - began) < PATIENCE:
            seen = (await look(lab.backend)).get(ONE)
            if seen is not None and seen.state is not InstanceState.READY:
                return took, seen.failure.summary if seen.failure else seen.status
            if seen is not None and seen.ailment not in (None, Ailment.CUT_OFF):
                os.kill(pid, signal.SIGKILL)  # nobody waits for its drain here
                return took, seen.status if seen.ailment is not Ailment.SILENT else "silent"
            await asyncio.sleep(0.2)
    return PATIENCE, "not noticed"


def one(name: str, folder: Path, broker: Broker) -> None:
    """In a process of its own."""
    with BlackHole(broker.port) as hole:
        spec = PoolSpec("default", concurrency=2, prefetch_multiplier=1)
        lab = WorkerLab(folder, broker.through(hole.port), files={"naps/jobs.py": JOBS}, spec=spec, watchdog=60.0)
        lab.client.close()
        lab.client = broker.app()
        seconds, words = asyncio.run(measure(lab, WEDGES[name], hole))
    print(f"{name:42} {seconds:6.1f} s   {words[:110]}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="w") as name, redis_server(folder := Path(name)) as (url, _):
        runs = []
        for number, wedge in enumerate(WEDGES):
            (folder / str(number)).mkdir()
            runs.append(Process(target=one, args=(wedge, folder / str(number), on_redis(url, number))))
            runs[-1].start()
        for run in runs:
            run.join()


if __name__ == "__main__":
    main()
