"""The environment variables of a process that imports the application: a worker, or a process of trapd that asks it.

Standard library only: the file travels with each generation. The variables have five sources; a later source overrides:

1. the program that starts the process (systemd, trapd, a user's shell), except variables that are not for the
   application: ``inherited``;
2. the paths of trapd's directories, which a celeryconfig may use: ``directories``. Under systemd they are in
   Environment= of the workers' unit, with HOME and the folders for caches, which only a user of its own needs;
3. the variables of every worker's Python: ``of_worker``;
4. the pool: its ``environment``, which its ``environment_file`` overrides; that is read when the process starts;
5. the backend, for its connection to the worker: ``of_child``. systemd itself adds NOTIFY_SOCKET and WATCHDOG_USEC.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

STATE, RUNTIME = "TRAPD_STATE_DIRECTORY", "TRAPD_RUNTIME_DIRECTORY"
SHARED = "TRAPD_WORKER_DIRECTORY"  # the folder of files that outlive workers, if it is not below the first
NUMBA_LOCATORS = "NUMBA_CACHE_LOCATOR_CLASSES"  # numba's own: where its cache is, in place of whatever trapd says
NUMBA_CACHE = "TRAPD_NUMBA_CACHE"  # what [app] numba_cache says: "true" or "false"; absent: "auto"
PARENT = "TRAPD_PARENT_PID"  # the process whose end means SIGTERM; only if trapd itself is the parent

# No pool may set these.
BACKENDS_OWN = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
# Variables of the environment in which trapd itself was started. REMAP_SIGTERM would make every drain a cold shutdown.
_NOT_FOR_THE_APPLICATION = frozenset({"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "REMAP_SIGTERM", "__PYVENV_LAUNCHER__"})
_FROM_SYSTEMD = frozenset({"WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "MAINPID"})


def inherited(base: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of trapd's own environment that are for the application: none of trapd's own Python."""
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
    """Return the variables that name trapd's directories."""
    return {STATE: str(state), RUNTIME: str(runtime)}


def of_worker(base: Mapping[str, str], pool: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker, and of the programs that its tasks start. ``pool``: the pool's variables.

    A PYTHONPATH among them works as usual; start.py puts the snapshot before it.
    """
    return inherited(base) | {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1", **pool}


def of_question(base: Mapping[str, str], asked: Mapping[str, str], folders: Iterable[Path] = ()) -> dict[str, str]:
    """Return the environment of a command of trapctl that imports the application. ``asked``: the directories and the
    variables of the first pool; ``folders`` come first on the import path."""
    path = [*map(str, folders), *([asked["PYTHONPATH"]] if asked.get("PYTHONPATH") else [])]
    # .pyc files would belong to the caller, in folders whose files the application's owner, or trapd, has to replace
    env = inherited(base) | {"PYTHONDONTWRITEBYTECODE": "1", **asked}
    return env | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})


def of_child(env: Mapping[str, str], notify: Path, watchdog: float) -> dict[str, str]:
    """Return the environment of a worker of the embedded backend: ``env`` with trapd's socket instead of systemd's, the
    watchdog's time in seconds (0: none), and its parent."""
    clean = {name: value for name, value in env.items() if name not in _FROM_SYSTEMD}
    if watchdog:
        clean["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
    return {**clean, "NOTIFY_SOCKET": str(notify), PARENT: str(os.getpid())}
