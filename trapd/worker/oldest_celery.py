"""The oldest Celery that a worker runs on: docs/install.md and setup.cfg name the same."""

from __future__ import annotations

import re

OLDEST = (5, 5)


def require(version: str) -> None:
    """Raises ImportError if this version of Celery is older: Debian 12 has 5.2.6, which lacks modules that are used."""
    if tuple(int(number) for number in re.findall("[0-9]+", version)[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ImportError(
            f"cannot run on Celery {version}: a worker needs {oldest} or later; install 'celery>={oldest}' for the "
            "interpreter of the application"
        )
