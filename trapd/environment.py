"""Which variables a process has that runs the application: a worker, or whoever asks the application in its place.

Standard library only: the file travels with each generation. They come from five parties, the later going first:

1. who starts it (systemd, trapd, a person's shell), less what is not for the application: ``inherited``;
2. where trapd's directories are, which a celeryconfig may want to know: ``directories``. Under systemd this is in
   Environment= of the workers' unit, with HOME and the folders for caches, which only a user of their own needs;
3. what a worker's Python is always told: ``of_worker``;
4. the pool: its ``environment``, and before that its ``environment_file``, read when the process starts;
5. the backend, for its line to the worker: ``of_child``. systemd adds its own, and NOTIFY_SOCKET and WATCHDOG_USEC too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

STATE, RUNTIME = "TRAPD_STATE_DIRECTORY", "TRAPD_RUNTIME_DIRECTORY"
SHARED = "TRAPD_WORKER_DIRECTORY"  # where workers keep what outlives them, if that is not below the first
PARENT = "TRAPD_PARENT_PID"  # whose death is a SIGTERM; only where trapd itself is the parent

# No pool may set these.
BACKENDS_OWN = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
# Of the environment that trapd itself was started in. REMAP_SIGTERM would turn every drain into a cold shutdown.
_NOT_FOR_THE_APPLICATION = frozenset({"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "REMAP_SIGTERM", "__PYVENV_LAUNCHER__"})
_FROM_SYSTEMD = frozenset({"WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "MAINPID"})


def inherited(base: Mapping[str, str]) -> dict[str, str]:
    """What the application may have of an environment in which trapd runs: nothing of trapd's own Python."""
    kept = {
        name: value
        for name, value in base.items()
        if not name.startswith("PYTHON") and name not in _NOT_FOR_THE_APPLICATION
    }
    if "VIRTUAL_ENV" in base and "PATH" in base:
        own = str(Path(base["VIRTUAL_ENV"], "bin"))
        kept["PATH"] = os.pathsep.join(folder for folder in base["PATH"].split(os.pathsep) if folder != own)
    return kept


def directories(state: Path, runtime: Path) -> dict[str, str]:
    """Where trapd's are."""
    return {STATE: str(state), RUNTIME: str(runtime)}


def of_worker(base: Mapping[str, str], pool: Mapping[str, str]) -> dict[str, str]:
    """What a worker sees, and what its tasks start: ``pool`` is the pool's own.

    A PYTHONPATH among these is obeyed as usual; start.py puts the snapshot before it.
    """
    return inherited(base) | {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1", **pool}


def of_question(base: Mapping[str, str], asked: Mapping[str, str], folders: Iterable[Path] = ()) -> dict[str, str]:
    """What a command of trapctl sees that asks the application: ``asked`` are the directories and the first pool's own,
    ``folders`` come first on the import path."""
    path = [*map(str, folders), *([asked["PYTHONPATH"]] if asked.get("PYTHONPATH") else [])]
    # .pyc files would be the caller's, in folders that the application's owner, or trapd, has to replace
    env = inherited(base) | {"PYTHONDONTWRITEBYTECODE": "1", **asked}
    return env | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})


def of_child(env: Mapping[str, str], notify: Path, watchdog: float) -> dict[str, str]:
    """What a worker of the embedded backend sees: ``env`` with our socket instead of systemd's, its watchdog's time in
    seconds (0: none), and whose child it is."""
    clean = {name: value for name, value in env.items() if name not in _FROM_SYSTEMD}
    if watchdog:
        clean["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
    return {**clean, "NOTIFY_SOCKET": str(notify), PARENT: str(os.getpid())}
