"""Running something on the application's own interpreter, as a worker would be run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import trapd
from trapd.access import closed
from trapd.errors import NotPermittedError
from trapd.settings import Settings, variables

_STANDALONE = Path(trapd.__file__).parent / "worker" / "standalone.py"
_NOT_PASSED_ON = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "REMAP_SIGTERM", "__PYVENV_LAUNCHER__")


def command(python: Path, module: str, arguments: Sequence[str]) -> list[str]:
    """``module`` may be one of trapd's worker part: that interpreter need not have trapd."""
    return [str(python), "-P", str(_STANDALONE), module, *arguments]


def environment(settings: Settings, environ: Mapping[str, str], folders: Sequence[Path] = ()) -> dict[str, str]:
    """As a worker of the first pool has it: nothing of trapd's own Python, ``folders`` first on the import path."""
    pool = variables.of_pool(settings.pools[0]) if settings.pools else {}
    kept = {n: v for n, v in environ.items() if not n.startswith("PYTHON") and n not in _NOT_PASSED_ON}
    path = [*(str(folder) for folder in folders), *([pool["PYTHONPATH"]] if pool.get("PYTHONPATH") else [])]
    own = {
        **for_celeryconfig(settings),
        # .pyc files would be the caller's, in folders that the application's owner, or trapd, has to replace
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return kept | own | pool | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})


def permit(settings: Settings) -> None:
    """Raises NotPermittedError if this user may not read what a worker reads to start: that says nothing of workers."""
    files = [settings.app.python.resolve().parent, settings.app.celeryconfig]
    files += [Path(pool.environment_file) for pool in settings.pools if pool.environment_file]
    for file in files:
        if shut := closed(file):
            raise NotPermittedError(f"cannot run {settings.app.app} as a worker would: {shut.reason}; {shut.remedy}")


def for_celeryconfig(settings: Settings) -> dict[str, str]:
    """What a celeryconfig may want to know."""
    return {
        "TRAPD_STATE_DIRECTORY": str(settings.state_directory),
        "TRAPD_RUNTIME_DIRECTORY": str(settings.runtime_directory),
    }
