"""The settings in force under plain `celery worker` and under trapd: ``python -m tests.applications.table``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.applications import runs
from tests.applications.catalogue import APPLICATIONS, Application
from tests.applications.runs import Observed, Place, Plain, Trapd
from tests.support import brokers


def differences(plain: Observed, trapd: Observed) -> dict[str, tuple[Any, Any]]:
    """Setting -> what is in force by plain Celery and by trapd, where that is not the same."""
    (before,), (after,) = plain.each("settings"), trapd.each("settings")
    return {
        name: (before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }


def text(name: str, plain: Observed, trapd: Observed) -> str:
    """A row for each difference, for people."""
    rows = [f"| {name} | {row} | {a!r} | {b!r} |" for row, (a, b) in differences(plain, trapd).items()]
    names = [sorted(queue["name"] for queue in one.each("queues")[0]) for one in (plain, trapd)]
    rows += [f"| {name} | queues read | {', '.join(names[0])} | {', '.join(names[1])} |"]
    return "\n".join(rows)


def compared(application: Application, python: Path, directory: Path, urls: tuple[str, str]) -> str:
    """Run it by both, and compare."""
    at = Place(application, python, directory / "project", *urls)
    seen = []
    for way in (Plain, Trapd):
        at.put()
        with way.running(at, directory) as running:
            seen.append(at.observe(running.workers))
    return text(application.name, *seen)


def main() -> None:
    print("| application | setting | plain `celery worker` | trapd |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        directory = Path(name)
        (directory / "redis").mkdir()
        (directory / "rabbitmq").mkdir()
        python = runs.make_environment(directory / "venv")
        with (
            brokers.redis_server(directory / "redis") as (redis, _),
            brokers.rabbitmq_server(directory / "rabbitmq") as (rabbitmq, _),
        ):
            for number, application in enumerate(APPLICATIONS):
                urls = (rabbitmq, "rpc://") if application.broker == "rabbitmq" else (f"{redis}/{number}",) * 2
                place = directory / str(number)
                place.mkdir()
                print(compared(application, python, place, urls), flush=True)


if __name__ == "__main__":
    main()
