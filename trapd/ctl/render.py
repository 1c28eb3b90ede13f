"""The output of trapctl, on a terminal or in a pipe.

On a terminal lines have colours, unless NO_COLOR is set, and fit the width; nothing is cut off: text that does not fit
continues on the next line. In a pipe no line is broken. A colour never means more than the words.

There is no library for this, because rich took 40 of the 150 ms that `trapctl status` has.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self
from unicodedata import combining, east_asian_width

from trapd.ctl.words import Cell, Row, Word, clean

if TYPE_CHECKING:
    from trapd.control import documents

_GAP = 2  # columns of a terminal between two columns of a table
_LEAST = 30  # columns that a sentence in the last column of a table needs to be read
_NARROWEST = 10  # columns of a line, however little is left
_RED, _GREEN, _YELLOW, _MAGENTA, _CYAN, _BOLD = "31", "32", "33", "35", "36", "1"
_STYLE = {
    "ready": _GREEN, "starting": _YELLOW, "draining": _CYAN, "stopping": _CYAN, "failed": _RED,
    "current": _GREEN, "stale": _YELLOW, "mixed": _RED, "unknown": _MAGENTA,
    "settled": _GREEN, "tentative": _YELLOW, "changing": _YELLOW, "broken": _RED, "running": _GREEN,
    "as desired": _GREEN, "not as desired": _RED,
    "complete": _GREEN, "rejected": _RED, "superseded": _YELLOW, "paused": _YELLOW,
    "ok": _GREEN, "warning": _YELLOW, "error": _RED, "problem": _RED,
}  # fmt: skip


class Heading(str):
    """The heading of a column: bold."""

    __slots__ = ()


class Screen:
    """The output on one stream. ``width``: columns; None is the terminal's width, and no limit in a pipe."""

    def __init__(self, file: IO[str] | None = None, *, width: int | None = None) -> None:
        self.file = file if file is not None else sys.stdout
        self.terminal = self.file.isatty()
        # no width in a pipe, even if COLUMNS is exported: grep cannot find words in a broken line
        self.width = _columns(self.file) if width is None and self.terminal else width
        self._colours = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def line(self, *parts: Cell, indent: int = 0) -> None:
        """Write one line; on a terminal a line that is too long continues on the next line, indented."""
        self._put([" " * indent], parts, below=indent + 2)

    def entry(self, label: str, *parts: Cell, indent: int = 0, column: int = 0) -> None:
        """Write a label, and its text from ``column`` on; a text that is too long continues below the text."""
        self._put([" " * indent, Word(label), " " * (column - len(label))], parts, below=indent + column)

    def lines(self, texts: Iterable[str], indent: int = 0) -> None:
        """Write lines unbroken, however long they are: users copy tracebacks from the screen."""
        for text in texts:
            self.file.write(" " * indent + clean(text) + "\n")

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Row],
        *,
        lead: int = 1,
        bare: Sequence[str] = (),
        prose: bool = False,
    ) -> None:
        """Write aligned columns if they fit. Else write, for each row, a line of the first ``lead`` cells, and below it
        the other cells with their headings; columns in ``bare`` need no heading. With ``prose`` the last column is a
        sentence, which continues on the next line."""
        rows = [Row([_word(cell) for cell in row.cells], row.notes) for row in rows]
        widths = [max(map(_width, column)) for column in zip(columns, *(row.cells for row in rows), strict=True)]
        below = sum(widths[:-1]) + _GAP * (len(widths) - 1)
        if self.width is None or self.width - below >= (min(_LEAST, widths[-1]) if prose else widths[-1]):
            for row in [Row([Heading(column) for column in columns]), *rows]:
                gaps = [" " * (width - _width(cell) + _GAP) for cell, width in zip(row.cells, widths, strict=True)]
                self._put(
                    [part for pair in zip(row.cells[:-1], gaps, strict=False) for part in pair], row.cells[-1:], below
                )
                self._notes(row, indent=4)
        else:
            for row in rows:
                self.line(*_between("  ", row.cells[:lead]))
                self._rest(columns, row, lead, bare)
                self._notes(row, indent=2)

    def clear(self) -> None:
        """Clear the whole terminal; does nothing in a pipe."""
        if self.terminal:
            self.file.write("\x1b[H\x1b[2J")

    def _rest(self, columns: Sequence[str], row: Row, lead: int, bare: Sequence[str]) -> None:
        parts: list[Cell] = []
        for name, cell in list(zip(columns, row.cells, strict=True))[lead:]:
            if cell != "-":
                parts += [", " if parts else "", "" if name in bare else f"{name.lower()} ", cell]
        if parts:
            self.line(*parts, indent=2)

    def _notes(self, row: Row, indent: int) -> None:
        for note in row.notes:
            self.line(note, indent=indent)

    def _put(self, head: Sequence[Cell], parts: Sequence[Cell], below: int) -> None:
        """Write the head unbroken, and the parts after it; text that does not fit continues in column ``below``."""
        first, plain = "".join(map(_word, head)), "".join(map(_word, parts))
        styles, before = list(self._styles(parts)), self._painted(first, list(self._styles(head)))
        rooms = None if self.width is None else (self.width - _width(first), self.width - below)
        for begin, end in _pieces(plain, rooms):
            text = self._painted(plain[begin:end], [(a - begin, b - begin, style) for a, b, style in styles])
            self.file.write(f"{before}{text}".rstrip(" ") + "\n")
            before = " " * below

    def _styles(self, parts: Sequence[Cell]) -> Iterator[tuple[int, int, str]]:
        at = 0
        for part in parts:
            length = len(_word(part))
            if style := _style(part):
                yield at, at + length, style
            at += length

    def _painted(self, text: str, styles: Sequence[tuple[int, int, str]]) -> str:
        if not self._colours:
            return text
        painted, at = "", 0
        for begin, end, style in styles:
            begin, end = max(begin, at), min(end, len(text))
            if begin < end:
                painted += f"{text[at:begin]}\x1b[{style}m{text[begin:end]}\x1b[0m"
                at = end
        return painted + text[at:]


def _columns(terminal: IO[str]) -> int:
    """Return the present width of the terminal. An exported COLUMNS, which shutil prefers, may be that of another
    terminal; it counts only if the kernel knows no width, for instance on a serial line."""
    with contextlib.suppress(OSError, ValueError):
        if columns := os.get_terminal_size(terminal.fileno()).columns:
            return columns
    return shutil.get_terminal_size().columns


def _word(cell: Cell) -> Cell:
    """Return the cell without control characters and line ends, as the same class."""
    return type(cell)(clean(cell).replace("\n", " "))


def _style(cell: Cell) -> str:
    if isinstance(cell, Heading):
        return _BOLD
    return _STYLE.get(cell, _STYLE.get(cell.partition(" ")[0], "")) if isinstance(cell, Word) else ""


def _between(gap: str, cells: Sequence[Cell]) -> list[Cell]:
    return [part for cell in cells for part in (gap, cell)][1:]


def _width(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _pieces(text: str, rooms: tuple[int, int] | None) -> Iterator[tuple[int, int]]:
    """Yield where each line of the text begins and ends: between words, or within a word that is longer than a line.
    ``rooms``: columns of the first line, and of the other lines; None: no limit."""
    if rooms is None or _width(text) <= rooms[0]:
        yield 0, len(text)
        return
    room, others = (max(room, _NARROWEST) for room in rooms)
    begin = end = 0
    for word in re.finditer(r"\S+", text):
        if end > begin and _width(text[begin : word.end()]) > room:
            yield begin, end
            begin, room = word.start(), others
        end = word.end()
        while _width(text[begin:end]) > room:
            cut = next(at for at in range(end, begin, -1) if _width(text[begin:at]) <= room)
            yield begin, cut
            begin, room = cut, others
    if end > begin:
        yield begin, end


# --- progress ---------------------------------------------------------------------------------------------------------


class Bars:
    """Show the progress of rollouts as bars that stay in place; for terminals."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._latest: dict[str, documents.Progress] = {}
        self._drawn = 0  # lines

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._erase()
        for progress in self._latest.values():  # the bars are erased; their last text stays
            self._screen.line(_described(progress))
        self._screen.file.flush()

    def progress(self, progress: documents.Progress) -> None:
        self._latest[progress["pool"]] = progress
        self._erase()
        self._draw()

    def note(self, text: str) -> None:
        self._erase()
        self._screen.line(text)
        self._draw()

    def _erase(self) -> None:
        if self._drawn:
            self._screen.file.write(f"\x1b[{self._drawn}F\x1b[J")  # move up to the first bar, and erase all below
        self._drawn = 0

    def _draw(self) -> None:
        width = self._screen.width or 80
        for progress in self._latest.values():
            cells = 20 if width >= 80 else 10
            then = f"; next: {progress['next']}" if progress["next"] else ""
            bar, text = _bar(progress, cells), clean(_described(progress) + then)
            if len(bar) + 1 + _width(text) < width:
                self._screen.line(f"{bar} {text}")
                self._drawn += 1
            else:
                self._screen.line(bar)
                self._screen.entry("", text, indent=2)
                self._drawn += 1 + sum(1 for _ in _pieces(text, (width - 2, width - 2)))
        self._screen.file.flush()


class Lines:
    """Show the progress of rollouts as a line for each change, as `kubectl rollout status` does; for pipes and logs."""

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
        self._screen.file.flush()


def _described(progress: documents.Progress) -> str:
    message = progress["message"]
    between = " " if message.endswith("...") else "; "
    return f"{message}{between}waiting for {progress['waiting']}" if progress["waiting"] else message


def _bar(progress: documents.Progress, cells: int) -> str:
    """Return ``[######....]``: ready new workers, as a part of them and of all workers that have yet to start or exit.
    The bar is full only at the end, and not while an old worker drains."""
    rest = max(0, progress["wanted"] - progress["updated"]) + progress["old"]
    done = cells * progress["updated"] // max(1, progress["updated"] + rest)
    if progress["rollout"]["ended"] is None:
        done = min(done, cells - 1)
    return f"[{'#' * done}{'.' * (cells - done)}]"
