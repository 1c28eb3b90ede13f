"""The keys that a pool of beat may have: there is one beat, and it runs no tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trapd.settings.document import Document
from trapd.spec import PoolSpec

# The keys of a pool that beat uses; every other key is about running tasks.
MEANT_FOR_BEAT = frozenset(
    {"run", "workers", "environment", "environment_file", "loglevel", "singleton", "rollout", "systemd", "max_age"}
)


def settle(document: Document, path: str, written: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Make the values of a pool with ``run = "beat"`` those of a singleton. Raises SettingsError for a key that beat
    does not use, and for values that would make two beats."""
    for name in written:
        if name not in MEANT_FOR_BEAT:
            message = f'cannot use this with run = "beat": beat only sends tasks, and runs none of them; {name} is for '
            document.refuse(f"{path}.{name}", message + "workers", "remove it, or write it in a pool of workers")
    if values["workers"] > 1:
        message = f"cannot run {values['workers']} beats: each would send every task"
        document.refuse(f"{path}.workers", message, "set workers to 1 or 0")
    if written.get("singleton") is False:
        message = "cannot run beat without singleton: while recycling two beats would send every task twice"
        document.refuse(f"{path}.singleton", message, "remove it: a beat is always a singleton")
    values["singleton"] = True


def at_most_one(document: Document, specs: Sequence[PoolSpec]) -> None:
    """Raise SettingsError for a second pool of beat: all pools run the same application, with the same schedule."""
    beats = [spec.name for spec in specs if spec.run == "beat"]
    if len(beats) > 1:
        message = f'cannot run a second beat beside pool "{beats[0]}": both would send every task'
        document.refuse(f"pools.{beats[1]}.run", message, f"remove [pools.{beats[1]}]")
