"""Run a module on the application's own interpreter, as a worker is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trapd
from trapd.access import closed
from trapd.errors import NotPermittedError
from trapd.settings import Settings

_STANDALONE = Path(trapd.__file__).parent / "worker" / "standalone.py"


def command(python: str, module: str, arguments: Sequence[str]) -> list[str]:
    """Return the argv. ``module`` may belong to trapd's worker part: that interpreter need not have trapd."""
    return [python, "-P", str(_STANDALONE), module, *arguments]


def permit(settings: Settings) -> None:
    """Raise NotPermittedError if this user may not read the files that a worker reads when it starts.

    The workers themselves may be able to start all the same.
    """
    application = settings.application
    files = [Path(application.python).resolve().parent, Path(application.celeryconfig)]
    files += [Path(pool.environment_file) for pool in settings.pools if pool.environment_file]
    for file in files:
        if shut := closed(file):
            raise NotPermittedError(f"cannot run {application.app} as a worker would: {shut.reason}; {shut.remedy}")
