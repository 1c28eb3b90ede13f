"""The output of the demonstration: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.view import View, lines, one_line

PLAIN_EVERY, LIVE_EVERY = 5.0, 0.15  # s between two status lines, and between two pictures
BAR = 40  # columns, where there are as many
STYLES = {
    re.compile(r"\b(ready|current|0 lost|0 run twice)\b"): "green",
    re.compile(r"\b(draining|stale)\b"): "yellow",
    re.compile(r"\bimporting Trap\b"): "cyan",
    re.compile(r"\b(failed|stopping|[1-9]\d* lost|[1-9]\d* run twice)\b"): "bold red",
}


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
    """Show a line for each event, and a line every five seconds for the rest."""

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
            self.event("  " + one_line(view, time.time()))

    def table(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        width = max(len(what) for what, _ in lines)
        print(f"\n{title}", *(f"  {what:<{width}}  {figure}" for what, figure in lines), sep="\n", file=self._stream)
        self._stream.flush()

    def close(self) -> None:
        pass


class LiveShow:
    """The stage with its bar, the counters and the workers, always the same few lines; events scroll by above."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._console = console
        self._began = time.monotonic()
        self._last = 0.0
        self._live.start()

    def event(self, words: str) -> None:
        passed = f"{time.monotonic() - self._began:6.1f} s "
        self._live.console.print(Text.assemble((passed, "dim"), words))
        self._last = 0.0  # the picture below an event is never of the time before it

    def update(self, view: View) -> None:
        now = time.monotonic()
        if now - self._last >= LIVE_EVERY:
            self._last = now
            self._live.update(picture(view, time.time(), self._console.width), refresh=True)

    def table(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        self.close()
        figures = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        figures.add_column(overflow="fold")
        figures.add_column(overflow="fold")
        for what, figure in lines:
            figures.add_row(what, Text(figure, style="bold"))
        self._console.print()
        self._console.print(figures)

    def close(self) -> None:
        self._live.stop()


def picture(view: View, now: float, width: int) -> RenderableType:
    """Return the picture for a terminal of ``width`` columns."""
    columns = min(BAR, width)
    bar = (
        ProgressBar(pulse=True, animation_time=now - view.began, width=columns)
        if view.part is None
        else ProgressBar(total=1.0, completed=view.part, width=columns)
    )
    row = Table.grid()  # a bar alone does not end its line
    row.add_row(bar)
    return Group(row, *map(_coloured, lines(view, now, width)))


def _coloured(line: str) -> Text:
    text = Text(line)
    for words, style in STYLES.items():
        text.highlight_regex(words, style)
    return text
