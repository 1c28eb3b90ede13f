"""Which files of trapd itself travel with a snapshot: what a worker runs, so that its interpreter need not know trapd.

So an upgrade of trapd does not reach into workers that are running either.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import trapd
from trapd.errors import SnapshotError

_PASSENGERS = ("worker", "distribute")  # and what they need beside themselves
_MODULES = (
    "__init__.py",
    "atomic.py",
    "durations.py",
    "environment.py",
    "environment_file.py",
    "layout.py",
    "masking.py",
    "memory_events.py",
    "mount_table.py",
    "sizes.py",
    "task_table.py",
)
_LIBRARY = "sdnotify"


def files() -> Iterator[tuple[str, Path]]:
    """Path inside the runtime folder, and where it is now. Raises SnapshotError if sdnotify is not installed."""
    package = Path(trapd.__file__).parent
    yield from ((f"trapd/{name}", package / name) for name in _MODULES)
    for name in _PASSENGERS:
        yield from ((f"trapd/{file.relative_to(package)}", file) for file in _python_files(package / name))
    yield from _library()


def _library() -> Iterator[tuple[str, Path]]:
    spec = importlib.util.find_spec(_LIBRARY)
    if spec is None or spec.origin is None:
        raise SnapshotError(f"cannot find {_LIBRARY}, which every worker needs; install it beside trapd")
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        yield origin.name, origin
        return
    for file in _python_files(origin.parent):
        yield f"{_LIBRARY}/{file.relative_to(origin.parent)}", file


def _python_files(folder: Path) -> Iterator[Path]:
    """With what Python has compiled: whether that fits is for the worker's interpreter to tell."""
    yield from (file for file in sorted(folder.rglob("*")) if file.suffix in (".py", ".pyc") and file.is_file())
