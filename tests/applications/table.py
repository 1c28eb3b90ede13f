"""The settings in force under plain `celery worker` and under trapd: ``python -m tests.applications.table``."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.applications import runs
from tests.applications.catalogue import APPLICATIONS, Application
from tests.applications.runs import Observed, Place, Plain, Trapd
from tests.support import brokers, environments

SHIPPED = Path(__file__).parents[2] / "etc/celeryconfig.py"


def differences(plain: Observed, trapd: Observed) -> dict[str, tuple[Any, Any]]:
    """Setting -> what is in force by plain Celery and by trapd, where that is not the same."""
    before, after = in_force(plain), in_force(trapd)
    return {
        name: (before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }


def in_force(seen: Observed) -> dict[str, Any]:
    """Settings, and what the Celery pool made of options and settings. Workers of one application have to agree."""
    (settings,), (stats,) = seen.each("settings"), seen.each("stats")
    return {**settings, **stats}


def text(name: str, plain: Observed, trapd: Observed) -> str:
    """A row for each difference, for people."""
    rows = [f"| {name} | {row} | {a!r} | {b!r} |" for row, (a, b) in differences(plain, trapd).items()]
    names = [sorted(queue["name"] for queue in one.each("queues")[0]) for one in (plain, trapd)]
    rows += [f"| {name} | queues read | {', '.join(names[0])} | {', '.join(names[1])} |"]
    return "\n".join(rows)


def compared(application: Application, python: Path, directory: Path, urls: tuple[str, str]) -> str:
    """Run it by plain Celery, by trapd, and by trapd with the celeryconfig that is shipped; and compare."""
    at = Place(application, python, directory / "project", *urls)
    at.put()
    with Plain.running(at, directory) as running:
        plain = at.observe(running.workers)
    rows = []
    for celeryconfig, name in (
        ("", application.name),
        (SHIPPED.read_text(), f"{application.name}, shipped celeryconfig"),
    ):
        at.put()
        (directory / name).mkdir()
        with Trapd.running(at, directory / name, celeryconfig) as running:
            rows.append(text(name, plain, at.observe(running.workers)))
    return "\n".join(rows)


def main() -> None:
    print("| application | setting | plain `celery worker` | trapd |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="td") as name, ExitStack() as stack:
        directory = Path(name)
        for server in ("redis", "rabbitmq"):
            (directory / server).mkdir()
        python = environments.make(directory / "venv", *runs.PACKAGES)
        redis, _ = stack.enter_context(brokers.redis_server(directory / "redis"))
        rabbitmq, _ = stack.enter_context(brokers.rabbitmq_server(directory / "rabbitmq"))
        for number, application in enumerate(APPLICATIONS):
            urls = (rabbitmq, "rpc://") if application.broker == "rabbitmq" else (f"{redis}/{number}",) * 2
            place = directory / str(number)
            place.mkdir()
            print(compared(application, python, place, urls), flush=True)


if __name__ == "__main__":
    main()
