"""How a worker is started: the command line and the environment that make a generation's snapshot its code.

Standard library only. The daemon imports this for its embedded backend; systemd's units run ``main``: trapd-worker.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from trapd import environment, environment_file
from trapd.layout import RUNTIME_DIRECTORY, STATE_DIRECTORY, State, interpreter
from trapd.worker import lines

EX_CONFIG = 78
SCHEMAS = (1, 2)  # of the manifest; from 2 on a generation may have an environment of its own
START = "runtime/trapd/worker/start.py"  # in a generation

# Of a unit: systemd alone knows which state directory it was told.
_MOVED = "if [trapd] state_directory was changed, run `systemctl daemon-reload`, which tells it to the units"

_USAGE = """usage: trapd-worker POOL GENERATION-SLOT

Runs one worker of a pool on a generation's snapshot. TRAPD_STATE_DIRECTORY and TRAPD_RUNTIME_DIRECTORY name
the directories, if they are not /var/lib/trapd and /run/trapd."""


class LaunchError(ValueError):
    """A worker cannot be started as asked: no such generation or pool, or a manifest that cannot be read."""


def command(
    generations: Path, runtime: Path, instance: str, base_env: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Argument list and whole environment of ``default@7-1``. Raises LaunchError."""
    pool, at, slot = instance.partition("@")
    number = slot.partition("-")[0]
    if not (pool and at and number.isdecimal() and slot.partition("-")[2].isdecimal()):
        raise LaunchError(f"cannot read {instance!r} as POOL@GENERATION-SLOT")
    directory = generations / str(int(number))
    manifest = read_manifest(directory)
    launch = pool_of(manifest, pool)
    arguments = [pool, slot, "--generation", str(directory), "--runtime", str(runtime)]
    env = environment.of_worker(base_env, {**launch.get("environment", {}), **_from_file(pool, launch)})
    start, python = directory / START, interpreter(directory, str(manifest["python"]))
    if "PYTHONPATH" in env:
        env["PYTHONPATH"] = _in_copies(env["PYTHONPATH"], directory, manifest)
    if start.is_file():
        return [python, "-P", str(start), *arguments], env
    # of an earlier trapd: its worker does not set the import path itself
    folders = [str(directory / folder) for folder in manifest["import_path"]]
    env["PYTHONPATH"] = os.pathsep.join([*folders, *filter(None, [env.get("PYTHONPATH")])])
    return [python, "-P", "-m", "trapd.worker", *arguments], env


def _in_copies(path: str, directory: Path, manifest: Mapping[str, Any]) -> str:
    """PYTHONPATH for what a task of a closed generation starts: a project's folder is the copy of it."""
    if not manifest.get("environment"):
        return path

    def copy(folder: str) -> str:
        place = f"tree{os.path.realpath(folder)}" if folder else ""
        return str(directory / place) if place in manifest["import_path"] else folder

    return os.pathsep.join(map(copy, path.split(os.pathsep)))


def _from_file(pool: str, launch: Mapping[str, Any]) -> dict[str, str]:
    """The variables of the pool's environment_file, as it is now. They go before its ``environment``, as in systemd."""
    path = launch.get("environment_file")
    if not path:
        return {}
    try:
        return environment_file.read(Path(path))
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else error
        remedy = f"see that workers can read it, or correct [pools.{pool}] environment_file"
        raise LaunchError(f"cannot use the environment file {path}: {why}; {remedy}") from None


def read_manifest(directory: Path) -> dict[str, Any]:
    """A generation's manifest. Raises LaunchError."""
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
    except FileNotFoundError:
        remedy = "trapctl retry makes one of what is installed"
        raise LaunchError(f"there is no generation {directory.name} in {directory.parent}; {remedy}") from None
    except (OSError, ValueError) as error:
        raise LaunchError(f"cannot read {directory / 'manifest.json'}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") not in SCHEMAS:
        known = " or ".join(map(str, SCHEMAS))
        raise LaunchError(f"cannot use {directory / 'manifest.json'}: its schema is not {known}")
    return manifest


def pool_of(manifest: Mapping[str, Any], pool: str) -> dict[str, Any]:
    """What a generation says of one pool. Raises LaunchError."""
    pools = manifest.get("pools", {})
    if pool not in pools:
        known = ", ".join(sorted(pools)) or "none"
        raise LaunchError(f"generation {manifest.get('number')} has no pool {pool!r}; its pools: {known}")
    found: dict[str, Any] = pools[pool]
    return found


def main(arguments: list[str] | None = None) -> NoReturn:
    """Become the worker. Exits with 78, and a word on standard error, if there is no such thing to become."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments in (["-h"], ["--help"]):
        print(_USAGE)
        sys.exit(0)
    if len(arguments) != 2:
        _refuse(_USAGE)
    state = Path(os.environ.get(environment.STATE) or STATE_DIRECTORY)
    runtime = Path(os.environ.get(environment.RUNTIME) or RUNTIME_DIRECTORY)
    instance = "@".join(arguments)
    try:
        argv, env = command(State(state).generations, runtime, instance, os.environ)
        os.execve(argv[0], argv, env)
    except LaunchError as error:
        moved = lines.kept_by_journal() and not Path(State(state).generations, arguments[1].partition("-")[0]).exists()
        _refuse(f"trapd-worker: cannot start {instance}: {error}" + (f"; {_MOVED}" if moved else ""))
    except OSError as error:
        _refuse(f"trapd-worker: cannot start {instance}: cannot execute {argv[0]}: {error.strerror}")


def _refuse(message: str) -> NoReturn:
    print(lines.marked(message, "ERROR") if lines.kept_by_journal() else message, file=sys.stderr)
    sys.exit(EX_CONFIG)
