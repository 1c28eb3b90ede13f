"""How the demonstration is shown: a live table and bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.status import Status

PLAIN_EVERY, LIVE_EVERY = 5.0, 0.15  # s between two status lines, and between two pictures
STYLES = {"ready": "green", "current": "green", "draining": "yellow", "starting": "cyan", "stale": "yellow"}


@dataclass
class View:
    """What there is to see at this moment."""

    stage: str = ""
    part: float | None = None  # of the stage that is done, 0 to 1; None: nobody can tell
    sent: int = 0
    answered: int = 0
    rate: float = 0.0  # answers per second
    versions: dict[str, int] = field(default_factory=dict)  # answers by version of Trap
    status: Status | None = None


class Show(Protocol):
    def event(self, words: str) -> None:
        """Something happened."""

    def update(self, view: View) -> None:
        """Called often; shows the view when it is time to."""

    def table(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        """Show figures, at the end."""

    def close(self) -> None: ...


def choose(stream: TextIO = sys.stdout) -> Show:
    console = Console(file=stream)
    return LiveShow(console) if console.is_terminal and not console.is_dumb_terminal else PlainShow(stream)


class PlainShow:
    """One line for each event, and one every five seconds for the rest."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._last = self._began

    def event(self, words: str) -> None:
        print(f"[{time.monotonic() - self._began:6.1f} s] {words}", file=self._stream, flush=True)

    def update(self, view: View) -> None:
        now = time.monotonic()
        if now - self._last >= PLAIN_EVERY:
            self._last = now
            self.event("  " + one_line(view))

    def table(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        width = max(len(what) for what, _ in lines)
        print(f"\n{title}", *(f"  {what:<{width}}  {figure}" for what, figure in lines), sep="\n", file=self._stream)
        self._stream.flush()

    def close(self) -> None:
        pass


def one_line(view: View) -> str:
    """A view in one line."""
    parts = [view.stage]
    if view.sent:
        versions = ", ".join(f"{count} on {version}" for version, count in sorted(view.versions.items()))
        parts.append(f"{view.answered} of {view.sent} answered ({versions}), {view.rate:.1f}/s")
    if view.status:
        parts += [f"{one.name} {one.state} {one.version} {one.code}" for one in view.status.workers]
    return "; ".join(parts)


class LiveShow:
    """The workers as a table, the work as bars; events scroll by above."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._console = console
        self._began = time.monotonic()
        self._last = 0.0
        self._live.start()

    def event(self, words: str) -> None:
        passed = f"{time.monotonic() - self._began:6.1f} s "
        self._live.console.print(Text.assemble((passed, "dim"), words))

    def update(self, view: View) -> None:
        now = time.monotonic()
        if now - self._last >= LIVE_EVERY:
            self._last = now
            self._live.update(picture(view, now - self._began), refresh=True)

    def table(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        self.close()
        figures = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        figures.add_column(overflow="fold")
        for what, figure in lines:
            figures.add_row(what, Text(figure, style="bold"))
        self._console.print()
        self._console.print(figures)

    def close(self) -> None:
        self._live.stop()


def picture(view: View, passed: float) -> RenderableType:
    """What the terminal shows."""
    bars = Table.grid(padding=(0, 2))
    pulse = ProgressBar(width=40, pulse=True, animation_time=passed)
    known = ProgressBar(total=1.0, completed=view.part or 0.0, width=40)
    bars.add_row(Text(view.stage, style="bold"), pulse if view.part is None else known, f"{passed:.0f} s")
    if view.sent:
        bars.add_row(
            "images answered",
            ProgressBar(total=view.sent, completed=view.answered, width=40),
            f"{view.answered} of {view.sent}, {view.rate:.1f} per second",
        )
    for version, count in sorted(view.versions.items()):
        bars.add_row(f"on trap {version}", ProgressBar(total=view.answered, completed=count, width=40), str(count))
    return Group(bars, _workers(view.status)) if view.status else bars


def _workers(status: Status) -> RenderableType:
    rollout = f"rollout {status.rollout}" if status.rollout else "no rollout"
    table = Table(
        title=f"on disk: trap {status.installed} ({status.disk}); {rollout}", title_justify="left", title_style=""
    )
    for heading in ("worker", "pid", "state", "trap", "code", "active"):
        table.add_column(heading)
    for one in status.workers:
        state, code = (Text(word, style=STYLES.get(word, "red")) for word in (one.state, one.code))
        active = "" if one.active is None else str(one.active)
        table.add_row(one.name, str(one.pid or ""), state, one.version, code, active)
    return table
