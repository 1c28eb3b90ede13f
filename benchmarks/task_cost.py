"""The cost of a worker's own account for each task: 20,000 tasks that do nothing with it, and 20,000 without it.

One real Celery worker (pool solo, so that everything happens in one thread) takes tasks of two names from a private
Redis, in turns of 50 of the one and 50 of the other, and accounts for one of them. Each task only notes the processor
time of its thread; the time from one task to the next of its name is the cost of a task. Printed are both medians and
their difference. Exits with 1 if the promise is not kept.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from celery import Celery
from celery.worker import strategy

from tests.support.brokers import redis_server
from trapd.task_table import TaskTable
from trapd.worker import counting, unknown
from trapd.worker.aside import Aside
from trapd.worker.poison import AFTER, Poison
from trapd.worker.queues import Queues
from trapd.worker.receipt import Receipt
from trapd.worker.tally import Tally

PROMISED = 20.0  # microseconds a task
TURN = 50  # tasks
PATIENCE = 300.0  # s that all of it may take
WITH, WITHOUT, LAST = "with", "without", "last"
NOTED: list[tuple[str, float]] = []


def make_app(url: str) -> Celery:
    app = Celery("cost", broker=url, set_as_current=False)
    app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=100)

    def note_with() -> None:
        NOTED.append((WITH, time.thread_time()))

    def note_without() -> None:
        NOTED.append((WITHOUT, time.thread_time()))

    def last(path: str) -> None:
        lines = [f"{name} {end - begin!r}" for (before, begin), (name, end) in pairwise(NOTED) if before == name]
        fresh = Path(f"{path}.new")
        fresh.write_text("\n".join(lines))
        fresh.replace(path)

    for function, name in ((note_with, WITH), (note_without, WITHOUT), (last, LAST)):
        app.task(function, name=name)
    return app


def work(url: str) -> None:
    """A worker that accounts for the tasks of one name, in this process, until it is killed."""
    app, tally = make_app(url), Tally()
    tally.rows = TaskTable(Path("worker.tasks"), 17)
    plain = strategy.create_request_cls
    poison = Poison(Path(".poison").absolute(), "default", "here", AFTER)
    poison.killed("another", "killer")  # so that there is a folder, as soon as anything was ever killed here
    counting.install(tally, lambda id, name, why: None, Receipt(Path("worker.receipt")))
    counted = strategy.create_request_cls

    def create_request_cls(base: Any, task: Any, *arguments: Any, **options: Any) -> Any:
        return (counted if task.name == WITH else plain)(base, task, *arguments, **options)

    strategy.create_request_cls = create_request_cls
    generation = Path("generations/1").absolute()
    generation.mkdir(parents=True)
    for step in (unknown.step(generation, Aside(poison), poison), counting.step(tally, Queues())):
        app.steps["consumer"].add(_both(step))
    options = {"pool": "solo", "without_mingle": True, "without_gossip": True, "loglevel": "WARNING", "quiet": True}
    app.Worker(**options).start()


def _both(step: Any) -> Any:
    """A step of trapd's, for the messages of one name only; the choice costs both alike."""

    class Both(step):  # type: ignore[misc]
        name = f"benchmarks.{step.__name__}"

        def __init__(self, consumer: Any, **options: Any) -> None:
            plain = consumer.create_task_handler
            super().__init__(consumer, **options)
            counted = consumer.create_task_handler

            def create_task_handler(*arguments: Any, **options: Any) -> Callable[[Any], None]:
                handlers = {True: counted(*arguments, **options), False: plain(*arguments, **options)}
                return lambda message: handlers[message.headers["task"] == WITH](message)

            consumer.create_task_handler = create_task_handler

    return Both


def measure(url: str, tasks: int) -> dict[str, float]:
    """The median of each name, in microseconds."""
    app: Any = make_app(url)
    result = Path("result").absolute()
    turns = tasks // (TURN - 1) + 1  # the first of each turn follows another name
    for name in (WITH, WITHOUT) * turns:
        for _ in range(TURN):
            app.send_task(name)
    app.send_task(LAST, [str(result)])
    app.close()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    worker = subprocess.Popen([sys.executable, "-m", "benchmarks.task_cost", "--work", url], env=env)
    deadline = time.monotonic() + PATIENCE
    try:
        while not result.exists():
            if worker.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError("the worker does not come to its end")
            time.sleep(0.05)
    finally:
        worker.kill()
        worker.wait()
    found: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    for line in result.read_text().splitlines():
        name, seconds = line.split()
        found[name].append(float(seconds))
    return {name: statistics.median(times[-tasks:]) * 1e6 for name, times in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, metavar="NUMBER", help="of each name")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return 0
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        os.chdir(name)
        with redis_server(Path(name)) as (url, _):
            found = measure(url, options.tasks)
    cost = found[WITH] - found[WITHOUT]
    kept = cost <= PROMISED
    print(f"a task that does nothing: {found[WITH]:.1f} us with the account, {found[WITHOUT]:.1f} us without it")
    print(f"the account costs {cost:.1f} us a task; at most {PROMISED:g}: {'kept' if kept else 'NOT KEPT'}")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
