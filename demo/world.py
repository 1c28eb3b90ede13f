"""The place of the demonstration: a temporary folder with a broker of files, a trapd.toml and a trapd of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery import Celery

from demo.processes import STEP, DemoError, Processes, end_marked
from demo.trapctl import Trapctl
from demo.trapenv import TrapEnvironment, default_place
from trapd.distribute import ledger
from trapd.distribute.app import app

EMBEDDED = Path(__file__).parents[1] / "etc" / "celeryconfig-embedded.py"
WORKERS = 2
DRAIN = 60.0  # s that trapd gets to let its workers finish

CONFIGURATION = """\
[trapd]
backend = "embedded"
state_directory = "state"
runtime_directory = "runtime"

[app]
celeryconfig = "celeryconfig.py"
python = {python}
smoke_test = "trapd.distribute.smoke:known_source"

[pools.default]
workers = {workers}
environment = {{ {variable} = {ledger} }}
"""


class World:
    """A context: leaving it ends every process that was started in it, and removes every file."""

    def __init__(self, trap: Path | None = None) -> None:
        """``trap``: the folder of Trap's own virtual environment, which may not exist yet; None: the usual folder."""
        self.work = Path(tempfile.mkdtemp(prefix="trapd-run-"))  # short: there is a socket below it
        self.processes = Processes(self.work)
        self.trap = TrapEnvironment(trap or default_place(self.work), self.processes)
        self.ledger = self.work / "ledger"
        self.left: list[str] = []  # processes that did not end as they should, known after leaving
        self.configuration = configuration = self.work / "trapd.toml"
        self.status = Trapctl(self.processes, configuration, "status", "pools")
        self.events = Trapctl(self.processes, configuration, "events", "events", "--limit", "100")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.processes.stop_all()
        self.left += end_marked(self.processes.mark, 5.0)
        self.trap.close()
        shutil.rmtree(self.work, ignore_errors=True)

    # -- files -----------------------------------------------------------------------------------------------------

    def configure(self) -> Celery:
        """Write trapd.toml and a celeryconfig.py; returns the application for submitters, configured alike."""
        if not EMBEDDED.exists():
            raise DemoError(f"cannot find {EMBEDDED}: run this from a checkout of trapd")
        shutil.copy(EMBEDDED, self.work / "celeryconfig.py")
        values = {"python": self.trap.python, "ledger": self.ledger}
        quoted = {name: json.dumps(str(path)) for name, path in values.items()}
        configuration = CONFIGURATION.format(workers=WORKERS, variable=ledger.VARIABLE, **quoted)
        self.configuration.write_text(configuration)
        os.environ["TRAPD_STATE_DIRECTORY"] = str(self.work / "state")  # for us, and for trapd and its workers
        os.environ.setdefault("NUMBA_CACHE_DIR", str(self.work / "numba"))  # for all who import Trap here
        sys.path.insert(0, str(self.work))  # there Celery's default loader finds celeryconfig
        return app

    def runs(self) -> list[ledger.Run]:
        """Return the lines that the workers have recorded so far."""
        if not self.ledger.exists():
            return []
        written = self.ledger.read_text()
        return ledger.read(written[: written.rfind("\n") + 1].splitlines())  # a line may be half there

    def runs_and_gone(self) -> tuple[list[ledger.Run], set[int]]:
        """Return ``runs``, and the processes with an unfinished task that have ended."""
        runs = self.runs()
        gone = {run.pid for run in runs if run.finished is None and not Path(f"/proc/{run.pid}").exists()}
        return self.runs() if gone else runs, gone  # again: a process that is gone now has written its last line

    # -- trapd -----------------------------------------------------------------------------------------------------

    def start_trapd(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "trapd", "--config", str(self.work / "trapd.toml")]
        return self.processes.start("trapd", command, patience=DRAIN)

    def stop_trapd(self, tick: Callable[[], None]) -> None:
        """Let it drain its workers, calling ``tick`` meanwhile. Raises DemoError if it had to be killed, or failed."""
        if not self.processes.stop("trapd", tick):
            raise DemoError(f"cannot stop trapd: still there {DRAIN:.0f} s after SIGTERM")
        self.processes.must_have_succeeded("trapd")

    def wait_for_status(self, patience: float, tick: Callable[[], None]) -> dict[str, Any]:
        """The next answer of ``trapctl status --json``. Calls ``tick`` meanwhile.

        Raises DemoError after ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        while (status := self.status.look()) is None:
            if time.monotonic() > deadline:
                raise DemoError(f"cannot ask trapd: {self.processes.last_words('status') or 'no answer'}")
            tick()
            time.sleep(STEP)
        return status

    def logs(self) -> str:
        """The last words of trapd and its workers, for a report of what went wrong."""
        files = [self.work / "trapd.log", *sorted((self.work / "state" / "logs").glob("*.log"))]
        found = []
        for file in files:
            if file.exists():
                last = file.read_text(errors="replace").splitlines()[-15:]
                found.append("\n".join([f"--- {file.name}", *last]))
        return "\n".join(found)
