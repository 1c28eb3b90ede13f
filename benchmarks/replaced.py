"""The time from a wedge to the notice of it, and from there to a worker in its place, under a whole trapd.

``python -m benchmarks.replaced [redis|rabbitmq]...``: pools of two workers with two queues, on a private broker, with
the intervals that are in force everywhere; the application is a small one. All wedges are made at the same time, each
under a trapd of its own. "Noticed": trapd's status says that a worker takes no tasks. "Replaced": as many other
workers are ready as were noticed then.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import Process
from pathlib import Path

from celery import Celery

from benchmarks import named
from tests.support import sample
from tests.support.black_hole import BlackHole
from tests.support.brokers import Broker, on_rabbitmq, on_redis, rabbitmq_server, rabbitmqctl, redis_server
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.lost_consumers import LOSES
from tests.support.upgrade import Setting

PATIENCE = 240.0  # s
WORKERS = 2
KINDS = ("redis", "rabbitmq")
Wedge = Callable[[Celery, Broker, str, int, BlackHole], object]  # ``str``: the other queue; ``int``: a worker

WEDGES: dict[str, Wedge] = {
    "cancel_consumer": lambda app, broker, other, pid, hole: app.control.cancel_consumer(broker.queue),
    "the consumers of all queues are lost": lambda app, *_: app.control.broadcast("lose"),
    "one queue's consumer is lost": lambda app, broker, other, *_: app.control.broadcast("lose", {"queue": other}),
    "a connection whose packets are dropped": lambda app, broker, other, pid, hole: hole.swallow_present(),
    "all children stopped (SIGSTOP)": lambda app, broker, other, pid, hole: stop_children(pid),
}


def stop_children(pid: int) -> None:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGSTOP)


def ready(status: Status) -> set[str]:
    return {one["name"] for one in pool(status)["instances"] if one["state"] == "ready"}


def idle(status: Status) -> set[str]:
    told = [line for line in pool(status)["problems"] if "takes no tasks" in line]
    return {one["name"] for one in pool(status)["instances"] if any(one["name"] in line for line in told)}


def one(name: str, folder: Path, broker: Broker) -> None:
    """In a process of its own."""
    other = f"{broker.queue}-more"
    (folder / "app").mkdir()
    application = sample.make_application(folder / "app", folder.parent)
    files = sample.good("1.0")
    files["shipyard/jobs.py"] += LOSES
    application.put("1.0", files)
    with BlackHole(broker.port) as hole:
        setting = Setting(broker.through(hole.port), acks_late=False, workers=WORKERS, concurrency=2)
        tables = setting.tables(application)
        tables["pools.default"] = {**tables["pools.default"], "queues": [broker.queue, other]}
        with Daemon(folder, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
            noticed, replaced, words = measure(daemon, WEDGES[name], broker, other, hole)
    print(
        f"{broker.kind:9} {name:40} noticed {noticed:6.1f} s  replaced {replaced:5.1f} s later  {words[:100]}",
        flush=True,
    )


def measure(daemon: Daemon, wedge: Wedge, broker: Broker, other: str, hole: BlackHole) -> tuple[float, float, str]:
    first, app, ledger = (
        daemon.wait_until("workers", settled_on("1.0", WORKERS)),
        broker.app(),
        str(daemon.directory / "l"),
    )

    def send(queue: str) -> None:
        app.send_task(sample.NAP, (0, ledger), queue=queue)

    for queue in (broker.queue, other) * 4:
        send(queue)
    time.sleep(3)
    began = time.monotonic()
    wedge(app, broker, other, pool(first)["instances"][0]["pid"], hole)
    time.sleep(1)
    for _ in range(5):
        send(other)
    noticed, told, words = 0.0, set[str](), "not noticed"
    while time.monotonic() - began < PATIENCE:
        send(broker.queue)  # what one queue of two, or another worker, still takes
        now = time.monotonic() - began
        status = daemon.status()
        if not noticed and (told := idle(status)):
            noticed, words = now, next(line for line in pool(status)["problems"] if "takes no tasks" in line)
        if noticed and len(ready(status) - ready(first)) >= len(told):
            app.close()
            return noticed, now - noticed, words
        time.sleep(0.3)
    return noticed or PATIENCE, PATIENCE, words


@contextmanager
def brokers(kind: str, folder: Path) -> Iterator[Callable[[int], Broker]]:
    with ExitStack() as stack:
        if kind == "redis":
            url, _ = stack.enter_context(redis_server(folder))
            yield lambda number: on_redis(url, number)
        else:
            url, server = stack.enter_context(rabbitmq_server(folder))

            def in_a_vhost(number: int) -> Broker:  # names of workers are alike in all
                rabbitmqctl(server, "add_vhost", f"v{number}")
                rabbitmqctl(server, "set_permissions", "-p", f"v{number}", "guest", ".*", ".*", ".*")
                return on_rabbitmq(url.removesuffix("//") + f"/v{number}")

            yield in_a_vhost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="BROKER", help=f"of {', '.join(KINDS)}; both if none is named")
    options = parser.parse_args()
    named.check(parser, "broker", options.kinds, KINDS)
    for kind in options.kinds or KINDS:
        with tempfile.TemporaryDirectory(prefix="r") as name, brokers(kind, folder := Path(name)) as make:
            runs = []
            for number, wedge in enumerate(WEDGES):
                (folder / str(number)).mkdir()
                runs.append(Process(target=one, args=(wedge, folder / str(number), make(number))))
                runs[-1].start()
            for run in runs:
                run.join()


if __name__ == "__main__":
    main()
