"""The demonstration's child processes: started apart from the terminal, and all ended at the end.

Ctrl-C reaches a terminal's whole process group, and would hit workers and pip as well; so each child gets a session of
its own, and Ctrl-C only sets a flag here, which every wait looks at. Nothing is interrupted between two lines.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

STEP = 0.05  # s between two looks while waiting
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(Exception):
    """The demonstration cannot go on; the message is for people."""


class Interrupted(Exception):  # noqa: N818 - not an error: somebody pressed Ctrl-C
    """Somebody asked it to end."""


class Processes:
    """Children of the demonstration. ``interrupted`` counts the requests to end: a second one means at once.

    Their temporary files lie in ``logs`` too: pip, ended by a signal, removes none of its own.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.mark = f"TMPDIR={logs / 'tmp'}"  # in the environment of every child, and of its children
        self.interrupted = 0
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._patience: dict[str, float] = {}

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """While this lasts, Ctrl-C, SIGTERM and SIGHUP are requests to end."""

        def note(*_: object) -> None:
            self.interrupted += 1

        before = {one: signal.signal(one, note) for one in SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def check(self) -> None:
        """Raise Interrupted if somebody asked us to end."""
        if self.interrupted:
            raise Interrupted

    def start(
        self, name: str, command: Sequence[str], *, output: str = "", patience: float = 5.0
    ) -> subprocess.Popen[bytes]:
        """Start a child whose output goes to ``<name>.log``, or what it prints to the file ``output`` instead.

        Asked to end, it gets ``patience`` seconds for it. The kernel ends it with us, if it comes to that.
        """
        setpriv = shutil.which("setpriv")
        guarded = [setpriv, "--pdeathsig", "TERM", *command] if setpriv else list(command)
        variable, _, place = self.mark.partition("=")
        Path(place).mkdir(exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log, (self.logs / (output or f"{name}.log")).open("ab") as out:
            child = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env={**os.environ, variable: place},
                start_new_session=True,
            )
        self._children[name], self._patience[name] = child, patience
        return child

    def finish(self, name: str, command: Sequence[str], tick: Callable[[], None]) -> None:
        """Run a child to its end, calling ``tick`` meanwhile. Raises DemoError, with its last words, if it fails."""
        child = self.start(name, command)
        while child.poll() is None:
            self.check()
            tick()
            time.sleep(STEP)
        self.must_have_succeeded(name)

    def ended(self, name: str) -> int | None:
        """The exit status of a child; None while it runs."""
        return self._children[name].poll()

    def must_have_succeeded(self, name: str) -> None:
        """Raise DemoError if the ended child ``name`` failed."""
        status = self._children[name].returncode
        if status:
            raise DemoError(f"cannot go on: {name} ended with status {status}:\n{self.last_words(name)}")

    def last_words(self, name: str, lines: int = 25) -> str:
        """The end of a child's output."""
        with contextlib.suppress(OSError):
            return "\n".join((self.logs / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
        return ""

    def stop(self, name: str, tick: Callable[[], None] = lambda: None) -> bool:
        """SIGTERM to the child alone, and SIGKILL to its group when our patience ends; False if it took that.

        Calls ``tick`` meanwhile.
        """
        child = self._children.get(name)
        if child is None or child.poll() is not None:
            return True
        child.terminate()
        deadline, requests = time.monotonic() + self._patience[name], self.interrupted
        while child.poll() is None and time.monotonic() < deadline and self.interrupted == requests:
            tick()
            time.sleep(STEP)
        if child.poll() is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return False

    def stop_all(self) -> None:
        """End what still runs, the latest first."""
        for name in reversed(self._children):
            self.stop(name)


def marked(mark: str) -> dict[int, str]:
    """Living processes whose environment holds ``mark`` ("NAME=value"), and their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to read
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(entry.name)] = words
    return found


def end_marked(mark: str, patience: float) -> list[str]:
    """Give the marked processes ``patience`` seconds to end; kill and name those who do not."""
    deadline = time.monotonic() + patience
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(STEP)
    for pid in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return list(left.values())
