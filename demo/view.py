"""The state of the demonstration, and the texts that show it. Pure: no clock, no files."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from demo.status import Status, Worker
from demo.summary import Tally


@dataclass
class View:
    """The state at one moment. Times are seconds since the epoch."""

    stage: str = ""
    began: float = 0.0  # when the stage began
    part: float | None = None  # of the stage that is done, 0 to 1; None: not known
    tasks: Tally | None = None  # None: no task was submitted yet
    rate: float = 0.0  # finished tasks per second
    status: Status | None = None
    last_start: float | None = None  # seconds from a worker's start to its READY, the last time; None: not known yet
    series: tuple[int, int] | None = None  # answers so far and images of the run; None: it has not begun


def lines(view: View, now: float, width: int) -> list[str]:
    """The view on a terminal of ``width`` columns: a line that is too long goes on below itself, and nothing is cut."""
    found = [stage(view, now)]
    if view.tasks:
        found += [counters(view.tasks, view.rate), versions(view.tasks)]
    if view.series:
        found.append(series(view.series))
    if view.status:
        found.append(trapd(view.status))
        column = max((len(worker.name) for worker in view.status.workers), default=0)
        found += [
            f"{worker.name:<{column}}  {activity(worker, now, view.last_start)}" for worker in view.status.workers
        ]
    return [
        part
        for line in found
        if line
        for part in textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False)
    ]


def one_line(view: View, now: float) -> str:
    """The view in one line, as long as it is."""
    parts = [stage(view, now)]
    if view.tasks:
        parts.append(counters(view.tasks, view.rate))
        if on := versions(view.tasks):
            parts.append(on)
    if view.series:
        parts.append(series(view.series))
    if view.status:
        parts += [f"{worker.name} {activity(worker, now, view.last_start)}" for worker in view.status.workers]
    return "; ".join(parts)


def stage(view: View, now: float) -> str:
    """The stage, and how long it lasts."""
    return f"{view.stage}, {_seconds(now - view.began)}"


def counters(tasks: Tally, rate: float) -> str:
    """Return how many tasks are done, lost and run twice, and how many are finished each second."""
    return (
        f"{tasks.done} of {tasks.submitted} tasks done, {len(tasks.lost)} lost, {len(tasks.twice)} run twice, "
        f"{rate:.1f} tasks per second"
    )


def series(answered: tuple[int, int]) -> str:
    """How far the run of the series is. Some images have two answers: a source that was missed is measured."""
    return f"trapctl run: {answered[0]} answers for {answered[1]} images"


def versions(tasks: Tally) -> str:
    """On which versions of Trap the tasks ran; empty before the first one ended."""
    counts = [f"{count} ran on trap {version}" for version, count in sorted(tasks.versions.items())]
    return ", ".join(counts)


def trapd(status: Status) -> str:
    """Return the installed version, and the rollout."""
    rollout = f"rollout {status.rollout}" if status.rollout else "no rollout"
    return f"on disk: trap {status.installed}, {status.disk}; {rollout}"


def activity(worker: Worker, now: float, last_start: float | None) -> str:
    """Return what a worker does. ``last_start``: seconds that the last start of a worker took."""
    if worker.state == "starting":
        return f"importing Trap {_expected(now - worker.since, last_start)}"
    tasks = "" if worker.active is None else f", {worker.active} task" + ("" if worker.active == 1 else "s")
    if worker.state != "ready":
        return f"{worker.state} {_seconds(now - worker.since)} on trap {worker.version}{tasks}"
    return f"ready on trap {worker.version}, {worker.code}{tasks}"


def _expected(passed: float, last: float | None) -> str:
    if last is None:
        return _seconds(passed)
    if passed > last:
        return f"{_seconds(passed)}, and the last start took {_seconds(last)}"
    return f"{_seconds(passed)} of about {_seconds(last)}"


def _seconds(value: float) -> str:
    return f"{max(0.0, value):.0f} s"
