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
from tests.support.lost_consumers import LOSES
from tests.support.snapshots import NAPS
from tests.support.stages import look
from tests.support.worker_lab import ONE, WorkerLab, wait
from trapd.model import Ailment, InstanceState
from trapd.spec import PoolSpec

PATIENCE = 240.0  # s
JOBS = (
    NAPS
    + LOSES
    + """
import signal
from celery import signals


@signals.worker_ready.connect
def prepare(**_):
    def spin(*_):
        while True:
            pass

    signal.signal(signal.SIGURG, spin)
"""
)
Wedge = Callable[[WorkerLab, int, BlackHole], None]


def cancelled(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    lab.client.control.cancel_consumer(lab.broker.queue)


def lost(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    lab.client.control.broadcast("lose")


def one_of_two_lost(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    lab.client.control.broadcast("lose", {"queue": lab.spec.queues[1]})


def half_dead(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    hole.swallow_present()


def connects_for_ever(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    hole.strand()
    time.sleep(1)
    hole.swallow_present()


def children_stopped(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGSTOP)


def stopped_inside_tasks(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    for number in range(2):
        begun = lab.generations / f"task{number}"
        lab.client.send_task("naps.jobs.nap", (1000, str(begun)), queue=lab.spec.queues[0])
        wait(begun.with_name(f"{begun.name}.started").exists)
    children_stopped(lab, pid, hole)


def one_child_stopped(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]), signal.SIGSTOP)


def main_stopped(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    os.kill(pid, signal.SIGSTOP)


def endless_loop(lab: WorkerLab, pid: int, hole: BlackHole) -> None:
    os.kill(pid, signal.SIGURG)


WEDGES: dict[str, Wedge] = {
    "cancel_consumer": cancelled,
    "a consumer that is lost": lost,
    "a connection whose packets are dropped": half_dead,
    "all children stopped (SIGSTOP)": children_stopped,
    "all children stopped inside tasks (SIGSTOP)": stopped_inside_tasks,
    "the main process stopped (SIGSTOP)": main_stopped,
    "an endless loop in the main process": endless_loop,
    "one queue of two lost": one_of_two_lost,
    "one child of two stopped (SIGSTOP)": one_child_stopped,
    "connects, and hears nothing for ever": connects_for_ever,
    "draining: the main process stopped": main_stopped,
    "draining: an endless loop": endless_loop,
    "draining: all children stopped, one in a task": children_stopped,
    "draining, a task runs: the main process stopped": main_stopped,
    "draining, a task runs: an endless loop": endless_loop,
}


async def measure(lab: WorkerLab, wedge: Wedge, hole: BlackHole, folder: Path, busy: bool | None) -> tuple[float, str]:
    """``busy``: it drains, and a task runs until its end, or has ended; None: it does not drain."""
    drains = busy is not None
    async with lab:
        pid = (await lab.start()).pid
        assert pid is not None
        await lab.call("nap", 0)
        await lab.ask("ping")
        if drains:
            task = ("hold", str(folder / "nap")) if busy else ("nap", 5, str(folder / "nap"))
            await lab.send(*task)  # a nap ends; what waits for it is the drain
            await asyncio.to_thread(wait, (folder / "nap.started").exists)
            await lab.backend.drain(ONE)
            await asyncio.sleep(1)
        else:
            for queue in lab.spec.queues:  # the time of a queue begins with its last message
                await lab.result(await lab.send("nap", 0, queue=queue))
        began = time.monotonic()
        await asyncio.to_thread(wedge, lab, pid, hole)
        await asyncio.sleep(1)
        for _ in range(5):
            await lab.send("nap", 0, queue=lab.spec.queues[1])
        while (took := time.monotonic() - began) < PATIENCE:
            if not drains:
                await lab.send("nap", 0, queue=lab.spec.queues[0])  # what one queue of two, or one child, still takes
            seen = (await look(lab.backend)).get(ONE)
            if seen is None or seen.state is InstanceState.FAILED:
                return took, seen.failure.summary if seen is not None and seen.failure else "ended"
            if drains and seen.state is InstanceState.STOPPING:
                return took, seen.status
            if seen is not None and seen.ailment not in (None, Ailment.CUT_OFF):
                os.kill(pid, signal.SIGKILL)  # nobody waits for its drain here
                return took, seen.status if seen.ailment is not Ailment.SILENT else "silent"
            await asyncio.sleep(0.5)
    return PATIENCE, "not noticed"


def one(name: str, folder: Path, broker: Broker) -> None:
    """In a process of its own."""
    with BlackHole(broker.port) as hole:
        queues = (broker.queue, f"{broker.queue}-more")
        spec = PoolSpec("default", concurrency=2, prefetch_multiplier=1, queues=queues)
        lab = WorkerLab(folder, broker.through(hole.port), files={"naps/jobs.py": JOBS}, spec=spec, watchdog=60.0)
        lab.client.close()
        lab.client = broker.app()
        busy = "a task runs" in name if name.startswith("draining") else None
        seconds, words = asyncio.run(measure(lab, WEDGES[name], hole, folder, busy))
    print(f"{name:48} {seconds:6.1f} s   {words[:110]}", flush=True)


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
