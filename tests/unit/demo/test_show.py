"""Plain lines where there is no terminal; a picture where there is one."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from demo import show
from demo.view import View, lines
from tests.unit.demo.test_view import NOW, VIEW


def test_without_a_terminal_it_is_plain() -> None:
    assert isinstance(show.choose(io.StringIO()), show.PlainShow)


def test_plain_events_are_lines_and_views_come_rarely() -> None:
    stream = io.StringIO()
    plain = show.PlainShow(stream)
    plain.event("pip has ended")
    plain.update(VIEW)
    plain.table("Figures", [("done", "9"), ("run twice", "0")])
    assert stream.getvalue() == "[   0.0 s] pip has ended\n\nFigures\n  done       9\n  run twice  0\n"


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("part", [None, 0.5])
def test_the_picture_is_a_bar_and_the_lines_as_they_are(width: int, part: float | None) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system="standard")
    view = View(VIEW.stage, VIEW.began, part, VIEW.tasks, VIEW.rate, VIEW.status, VIEW.last_start)
    console.print(show.picture(view, NOW, width))
    bar, *rest = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()).splitlines()
    assert len(bar.rstrip()) == 40
    assert rest == lines(view, NOW, width)


def test_the_live_show_prints_events_above_and_the_figures_at_the_end() -> None:
    stream = io.StringIO()
    live = show.LiveShow(Console(file=stream, width=100, force_terminal=True, color_system=None))
    live.event("[brackets] are no markup")
    live.update(VIEW)
    live.table("Figures", [("done", "9")])
    live.close()
    text = stream.getvalue()
    assert "[brackets] are no markup" in text
    assert "default@2-2" in text
    assert "done" in text.rpartition("Figures")[2]


def test_the_picture_below_an_event_is_of_the_time_after_it() -> None:
    stream = io.StringIO()
    live = show.LiveShow(Console(file=stream, width=100, force_terminal=True, color_system=None))
    live.update(View("working"))
    live.update(View("too soon for another picture"))
    live.event("stopping")
    live.update(View("the last stage"))
    live.close()
    assert "too soon" not in stream.getvalue()
    assert "the last stage" in stream.getvalue()


def test_the_figures_at_the_end_are_whole_on_a_narrow_terminal() -> None:
    stream = io.StringIO()
    live = show.LiveShow(Console(file=stream, width=40, force_terminal=True, color_system=None))
    what, figure = "longest gap without a completed task, before", "8 to 9  (12 of 12 images exactly as made)"
    live.table("Computed from the answers, the workers' ledger and trapctl status", [(what, figure)])
    live.close()
    words = set(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()).split())
    assert words >= {*what.split(), *figure.split(), "Computed", "ledger"}
