"""How long somebody waits who sends 10 tasks while thousands of somebody else's wait, on RabbitMQ and a small worker.

Each way is tried in turn on the same broker: alice sends many tasks of 5 ms, and as soon as some are done bob sends 10.
Times are in those of bob's 10 tasks on the idle worker, so that they hold on another machine.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from celery import Celery
from celery.result import AsyncResult
from kombu import Queue

from tests.support import brokers

PROCESSES = 2
FEW = 10
IN_FLIGHT = 64
PRIORITIES = 10
PATIENCE = 600.0  # s
TASK = "fairness.work"
PROGRAM = """
import time
from celery import Celery
from kombu import Queue

app = Celery("fairness", broker={url!r}, backend="rpc://")
app.conf.update(worker_prefetch_multiplier={prefetch}, task_queues=[
    Queue(name, queue_arguments={arguments!r}) for name in {queues!r}
])

@app.task(name={task!r})
def work(seconds):
    time.sleep(seconds)
    return time.monotonic()
"""


@dataclass(frozen=True)
class Way:
    """A way to share the worker. ``queues``: alice's and bob's, or one for both; no other way has the same."""

    name: str
    queues: tuple[str, ...]
    prefetch: int = 4  # Celery's default
    priorities: bool = False
    in_flight: int | None = None  # of alice; None: she sends all tasks at once

    @property
    def arguments(self) -> dict[str, int]:
        return {"x-max-priority": PRIORITIES} if self.priorities else {}


WAYS = (
    Way("one queue", ("a",)),
    Way("one queue, prefetch 1", ("b",), prefetch=1),
    Way("one queue with priorities", ("c",), priorities=True),
    Way("one queue with priorities, prefetch 1", ("d",), priorities=True, prefetch=1),
    Way(f"one queue, alice has {IN_FLIGHT} tasks in flight", ("e",), in_flight=IN_FLIGHT),
    Way("a queue for each user", ("alice-1", "bob-1")),
    Way("a queue for each user, prefetch 1", ("alice-2", "bob-2"), prefetch=1),
)


@dataclass(frozen=True)
class Seen:
    """``alone``, ``beside``: seconds for bob's tasks; ``meanwhile``: alice's tasks that were done while bob waited."""

    way: Way
    alone: float
    beside: float
    meanwhile: int
    rate: float  # alice's tasks a second, over all

    @property
    def times(self) -> float:
        return self.beside / self.alone


class User:
    """Somebody who sends tasks from a connection, and a reply queue, of their own."""

    def __init__(self, url: str, way: Way, queue: str) -> None:
        self.app = Celery("user", broker=url, backend="rpc://", set_as_current=False)
        self.app.conf.task_queues = [Queue(queue, queue_arguments=way.arguments) for queue in way.queues]
        self.queue = queue
        self.ends: list[float] = []  # of tasks whose answers came, on the machine's monotonic clock

    def send(self, seconds: float, priority: int | None) -> AsyncResult:
        return self.app.send_task(TASK, (seconds,), queue=self.queue, priority=priority)

    def run(self, count: int, seconds: float, *, in_flight: int | None = None, priority: int | None = None) -> float:
        """Send the tasks and wait for all answers; returns the seconds that both took."""
        began, waiting = time.monotonic(), list[AsyncResult]()
        for _ in range(count):
            if in_flight and len(waiting) == in_flight:
                self._wait(waiting.pop(0))
            waiting.append(self.send(seconds, priority))
        for result in waiting:
            self._wait(result)
        return time.monotonic() - began

    def _wait(self, result: AsyncResult) -> None:
        self.ends.append(result.get(timeout=PATIENCE))


def measure(way: Way, url: str, place: Path, many: int, seconds: float) -> Seen:
    with worker(way, url, place):
        bob, alice = User(url, way, way.queues[-1]), User(url, way, way.queues[0])
        bob.run(FEW, seconds)
        alone = bob.run(FEW, seconds)
        took: list[float] = []
        thread = threading.Thread(
            target=lambda: took.append(alice.run(many, seconds, in_flight=way.in_flight, priority=_low(way)))
        )
        thread.start()
        _until(lambda: len(alice.ends) >= many // 20)
        began = time.monotonic()
        beside = bob.run(FEW, seconds, priority=PRIORITIES - 1 if way.priorities else None)
        thread.join()
        meanwhile = sum(began < end < max(bob.ends) for end in alice.ends)
        return Seen(way, alone, beside, meanwhile, many / took[0])


def _low(way: Way) -> int | None:
    return 0 if way.priorities else None


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


@contextlib.contextmanager
def worker(way: Way, url: str, place: Path) -> Iterator[None]:
    place.mkdir()
    text = PROGRAM.format(url=url, prefetch=way.prefetch, arguments=way.arguments, queues=way.queues, task=TASK)
    (place / "fairness.py").write_text(text)
    options = ("-c", str(PROCESSES), "--without-mingle", "--without-gossip", "--without-heartbeat")
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "fairness", "worker", *options], cwd=place, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=10_000, metavar="TASKS", help="that alice sends")
    parser.add_argument("--task", type=float, default=0.005, metavar="SECONDS", help="length of each task")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        (Path(name) / "broker").mkdir()
        with brokers.rabbitmq_server(Path(name) / "broker") as (url, _):
            for way in WAYS:
                seen = measure(way, url, Path(name) / way.queues[0], options.many, options.task)
                print(
                    f"{way.name}: bob waits {seen.times:.1f} times as long as alone ({seen.beside:.2f} s, "
                    f"{seen.alone:.2f} s), while {seen.meanwhile} of alice's tasks run; hers: {seen.rate:.0f} a second",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
