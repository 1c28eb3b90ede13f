"""The line of ``systemctl status trapd``: how many workers are ready, what moves, and everything that is wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence

from trapd.control.documents import DaemonState
from trapd.control.problems import missing
from trapd.model import Disk
from trapd.rollout.truth import serves
from trapd.rollout.view import PoolView
from trapd.sizes import counted


def line(state: DaemonState, disk: Disk, views: Sequence[PoolView], troubles: Sequence[str]) -> str:
    """``troubles``: of trapd itself, in sentences."""
    seen = [instance for view in views for instance in view.instances]
    if state == "stopping":
        return f"draining {counted(len(seen), 'worker')}, {counted(sum(i.active_tasks or 0 for i in seen), 'task')}"
    ready = sum(serves(instance) for instance in seen)
    parts = [f"{ready} of {counted(sum(view.wanted_workers for view in views), 'worker')} ready"]
    moving = [r for view in views if (r := view.state.rollout) is not None and not r.state.over]
    parts += [f"{rollout.pool}: {rollout.state} of generation {rollout.generation}" for rollout in moving]
    return "; ".join([*parts, *troubles, *missing(disk, views, _at)])


def _at(wall: float) -> str:
    """A moment, not an age: systemd shows the line long after it was written."""
    return time.strftime("at %Y-%m-%d %H:%M", time.localtime(wall))
