"""What trapctl puts on a terminal or into a pipe. The one file that knows rich.

On a terminal: colours, unless NO_COLOR is set, and a width that is kept. In a pipe: whole lines, as wide as they are.
A colour never says anything that the words do not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trapd.ctl.words import Cell, Word, clean

if TYPE_CHECKING:
    from trapd.control import documents

_UNBROKEN = 10_000  # columns: no line of ours is as long
_STYLE = {
    "ready": "green", "starting": "yellow", "draining": "cyan", "stopping": "cyan", "failed": "red",
    "current": "green", "stale": "yellow", "mixed": "red", "unknown": "magenta",
    "settled": "green", "changing": "yellow", "broken": "red", "running": "green",
    "complete": "green", "rejected": "red", "superseded": "yellow",
    "ok": "green", "warning": "yellow", "error": "red",
}  # fmt: skip


class Screen:
    """Writes to one stream; a terminal's width unless told another."""

    def __init__(self, file: IO[str] | None = None, *, width: int | None = None) -> None:
        stream = file if file is not None else sys.stdout
        self.terminal = stream.isatty()
        if width is None and not self.terminal:
            width = _UNBROKEN  # even where COLUMNS is exported: a line that was broken cannot be searched
        self._wide = width == _UNBROKEN
        self.console = Console(
            file=stream, width=width, highlight=False, markup=False, emoji=False, force_terminal=self.terminal or None
        )

    def line(self, *parts: Cell, indent: int = 0) -> None:
        """One line; on a terminal one that is too long goes on below, indented."""
        text = Text.assemble(*map(_styled, parts))
        if self._wide:
            self.console.print(Text(" " * indent) + text, soft_wrap=True)
            return
        for number, piece in enumerate(text.wrap(self.console, max(20, self.console.width - indent - 2))):
            piece.rstrip()
            self.console.print(Text(" " * (indent + (2 if number else 0))) + piece, soft_wrap=True)

    def lines(self, texts: Iterable[str], indent: int = 0) -> None:
        for text in texts:
            self.console.print(Text(" " * indent + clean(text)), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], spare: Sequence[str] = ()) -> None:
        """Aligned columns; where they do not fit, those in ``spare`` go, in that order, and then cells wrap."""
        shown = list(columns)
        table = _table(columns, rows, shown)
        anything = self.console.options.update(max_width=_UNBROKEN)
        for column in spare:
            if self.console.measure(table, options=anything).maximum <= self.console.width:
                break
            shown.remove(column)
            table = _table(columns, rows, shown)
        with self.console.capture() as captured:
            self.console.print(table)
        self.console.file.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], shown: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
    keep = [columns.index(column) for column in shown]
    for column in shown:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_styled(row[i]) for i in keep))
    return table


def _styled(cell: Cell) -> Text:
    return Text(clean(cell), style=_STYLE.get(cell, "") if isinstance(cell, Word) else "")


class Bars:
    """Progress of rollouts as bars that stay in place; for terminals."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._latest: dict[str, documents.Progress] = {}
        self._live = Live(console=screen.console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        for progress in self._latest.values():  # the bars are gone; what they came to stays
            self._screen.line(_described(progress))

    def progress(self, progress: documents.Progress) -> None:
        self._latest[progress["pool"]] = progress
        self._live.update(Text("\n").join(_bar(one, self._screen.console.width) for one in self._latest.values()))
        self._live.refresh()

    def note(self, text: str) -> None:
        self._live.console.print(Text(clean(text)), soft_wrap=True)


class Lines:
    """Progress of rollouts as a line for each change, in the manner of `kubectl rollout status`; for pipes and logs."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def progress(self, progress: documents.Progress) -> None:
        text = _described(progress)
        if self._last.get(progress["pool"]) != text:
            self._last[progress["pool"]] = text
            self.note(text)

    def note(self, text: str) -> None:
        self._screen.line(text)
        self._screen.console.file.flush()


def _described(progress: documents.Progress) -> str:
    message = progress["message"]
    between = " " if message.endswith("...") else "; "
    return f"{message}{between}waiting for {progress['waiting']}" if progress["waiting"] else message


def _bar(progress: documents.Progress, width: int) -> Text:
    """``[######....] pool default: 1 of 2 workers are on generation 8 (1 draining) ...``"""
    wanted, cells = max(1, progress["wanted"]), 20 if width >= 80 else 10
    done = min(cells, cells * progress["updated"] // wanted)
    text = Text.assemble(("#" * done, "green"), "." * (cells - done), " ", clean(_described(progress)))
    text.truncate(width - 1, overflow="ellipsis")
    return text
