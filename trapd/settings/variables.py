"""The environment variables of a pool's processes, for a process that imports the application as they do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trapd import environment_file
from trapd.spec import Application, PoolSpec


def of(asked: PoolSpec | Application) -> dict[str, str]:
    """Return its ``environment``, and the present content of its environment_file. A file that cannot be used counts as
    empty: then the pool's processes cannot start, and ``fault`` returns the reason."""
    if not asked.environment_file:
        return dict(asked.environment)
    try:
        return {**asked.environment, **environment_file.read(Path(asked.environment_file))}
    except (OSError, ValueError):
        return dict(asked.environment)


def paths(pools: Iterable[PoolSpec]) -> dict[str, str]:
    """Setting -> PYTHONPATH, of the pools that have one."""
    found = {}
    for pool in pools:
        if path := of(pool).get("PYTHONPATH"):
            setting = "environment" if path == pool.environment.get("PYTHONPATH") else "environment_file"
            found[f"[pools.{pool.name}] {setting}"] = path
    return found


def fault(spec: PoolSpec) -> str:
    """Return why the pool's environment_file cannot be used now; empty if it can, or if there is none."""
    try:
        if spec.environment_file:
            environment_file.read(Path(spec.environment_file))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    except ValueError as error:
        return str(error)
    return ""
