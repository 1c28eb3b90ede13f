"""The environment variables of a pool's processes, for whoever asks something of the application as they would."""

from __future__ import annotations

from pathlib import Path

from trapd import environment_file
from trapd.model import Application, PoolSpec


def of(asked: PoolSpec | Application) -> dict[str, str]:
    """Its ``environment``, and what its environment_file says now; a file that cannot be used counts as empty: the
    start of the pool's processes fails by it, and ``fault`` says why."""
    if not asked.environment_file:
        return dict(asked.environment)
    try:
        return {**asked.environment, **environment_file.read(Path(asked.environment_file))}
    except (OSError, ValueError):
        return dict(asked.environment)


def fault(spec: PoolSpec) -> str:
    """Why the pool's environment_file cannot be used here and now; empty if it can, or there is none."""
    try:
        if spec.environment_file:
            environment_file.read(Path(spec.environment_file))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    except ValueError as error:
        return str(error)
    return ""
