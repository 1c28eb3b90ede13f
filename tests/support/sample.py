"""A throw-away application, ``shipyard``: a Celery app in a distribution of its own, in good and in broken versions.

Its virtual environment has Celery and has never heard of trapd. Its one task, ``shipyard.nap``, sleeps and writes a
ledger: one line when it starts and one when it ends, each by a single append, so that lines never mix.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.support import environments, site_packages
from tests.support.environments import pip
from tests.support.wheels import write_wheel

NAME = "shipyard"
APP = "shipyard.jobs:app"
NAP = "shipyard.nap"
CELERY = "celery[redis]>=5.5"  # plain `redis` lacks what kombu imports

_JOBS = dedent('''
    """The tasks."""

    import json
    import os
    import time

    from celery import Celery

    import shipyard

    app = Celery("shipyard")


    @app.task(bind=True, name="shipyard.nap")
    def nap(self, seconds, ledger):
        def note(event, **more):
            line = {"id": self.request.id, "event": event, "at": time.monotonic(), **more}
            out = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(out, (json.dumps(line) + "\\n").encode())
            finally:
                os.close(out)

        who = {"version": shipyard.VERSION, "node": self.request.hostname, "pid": os.getpid(), "main": os.getppid()}
        note("start", **who)
        time.sleep(seconds)
        from shipyard import hull  # after the nap: an upgrade may have happened meanwhile

        who["lazy"] = hull.VERSION
        note("end", **who)
        return who
    ''')


def good(version: str) -> dict[str, str]:
    """The files of a version that works."""
    return {
        "shipyard/__init__.py": f'"""Builds nothing."""\n\nVERSION = "{version}"\n',
        "shipyard/hull.py": f'"""Imported late."""\n\nVERSION = "{version}"\n',
        "shipyard/jobs.py": _JOBS,
    }


def raising(version: str) -> dict[str, str]:
    """The files of a version that cannot be imported."""
    return {**good(version), "shipyard/jobs.py": _JOBS + '\nraise RuntimeError("the hull leaks")\n'}


@dataclass(frozen=True)
class Application:
    """A virtual environment and the wheels to install in it."""

    python: Path
    wheels: Path

    def wheel(self, version: str, files: Mapping[str, str] | None = None) -> Path:
        """Build a wheel of shipyard; ``files`` if it is not a good one."""
        return write_wheel(self.wheels, NAME, version, files or good(version))

    def install(self, wheel: Path) -> tuple[float, float]:
        """``pip install`` of a wheel, in place; returns the monotonic times at which pip began and ended."""
        began = time.monotonic()
        pip(self.python, "install", "--no-index", "--no-deps", "--force-reinstall", str(wheel))
        return began, time.monotonic()

    def put(self, version: str, files: Mapping[str, str] | None = None) -> None:
        """Install it without pip, which costs a second of work: for what is there before a test begins."""
        site_packages.install(self.site_packages(), NAME, version, files or good(version))

    def site_packages(self) -> Path:
        lib = self.python.parent.parent / "lib"
        return next(lib.glob("python3*/site-packages"))


def make_application(directory: Path, kept: Path | None = None) -> Application:
    """A fresh virtual environment with Celery and its Redis client. Takes 15 to 30 s, or 1 s if it is in ``kept``."""
    venv = directory / "venv"
    python = environments.copy(kept, venv, CELERY) if kept else environments.make(venv, CELERY)
    wheels = directory / "wheels"
    wheels.mkdir()
    return Application(python, wheels)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. ``lazy`` is the version of the module imported at the end of the task."""

    id: str
    event: str
    at: float  # CLOCK_MONOTONIC, which all processes of a machine share
    version: str
    node: str
    pid: int
    main: int  # the worker's main process
    lazy: str = ""


def read_ledger(path: Path) -> list[Entry]:
    """What has been noted so far, in order; nothing if no task has run."""
    return parse_ledger(path.read_text() if path.exists() else "")


def parse_ledger(text: str) -> list[Entry]:
    return [Entry(**json.loads(line)) for line in text.splitlines()]
