"""The tasks that this worker has registered, each with a digest of its signature: what submitters may call, and how."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

_CELERYS_OWN = "celery."


def registered(app: Any) -> dict[str, str]:
    """Name -> digest, of the application's own tasks."""
    return {name: digest(task) for name, task in dict(app.tasks).items() if not name.startswith(_CELERYS_OWN)}


def digest(task: Any) -> str:
    """Names, kinds and order of the parameters, and which have a default; not annotations, nor values of defaults. Two
    digests are equal if every call that fits one signature fits the other. Empty where there is no signature."""
    try:
        parameters = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return ""
    text = ",".join(f"{p.kind.value} {p.name} {p.default is not p.empty:d}" for p in parameters)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
