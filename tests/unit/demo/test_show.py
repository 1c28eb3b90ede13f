"""Plain lines where there is no terminal; a picture where there is one."""

from __future__ import annotations

import io

from rich.console import Console

from demo import show
from demo.status import Status, Worker

OLD = Worker("default@1-0", 41, "draining", "stale", "1.3.0", 1)
NEW = Worker("default@2-0", 42, "ready", "current", "1.4.0", 0)
STATUS = Status("settled", "", "1.4.0", 2, 2, "rolling", "", 2, None, (OLD, NEW))
VIEW = show.View("working", 0.5, sent=10, answered=9, rate=4.9, versions={"1.3.0": 6, "1.4.0": 3}, status=STATUS)


def test_without_a_terminal_it_is_plain() -> None:
    assert isinstance(show.choose(io.StringIO()), show.PlainShow)


def test_a_view_in_one_line() -> None:
    assert show.one_line(VIEW) == (
        "working; 9 of 10 answered (6 on 1.3.0, 3 on 1.4.0), 4.9/s; "
        "default@1-0 draining 1.3.0 stale; default@2-0 ready 1.4.0 current"
    )
    assert show.one_line(show.View("pip")) == "pip"


def test_plain_events_are_lines_and_views_come_rarely() -> None:
    stream = io.StringIO()
    plain = show.PlainShow(stream)
    plain.event("pip has ended")
    plain.update(VIEW)
    plain.table("Figures", [("done", "9"), ("run twice", "0")])
    assert stream.getvalue() == "[   0.0 s] pip has ended\n\nFigures\n  done       9\n  run twice  0\n"


def test_the_picture_holds_workers_and_progress() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True, color_system=None)
    console.print(show.picture(VIEW, 12.0))
    text = stream.getvalue()
    for words in ("working", "12 s", "9 of 10, 4.9 per second", "on trap 1.4.0", "rollout rolling"):
        assert words in text
    assert [line for line in text.splitlines() if "default@2-0" in line and "ready" in line and "current" in line]


def test_the_live_show_prints_events_above_and_the_figures_at_the_end() -> None:
    stream = io.StringIO()
    live = show.LiveShow(Console(file=stream, width=100, force_terminal=True, color_system=None))
    live.event("[brackets] are no markup")
    live.update(VIEW)
    live.table("Figures", [("done", "9")])
    live.close()
    text = stream.getvalue()
    assert "[brackets] are no markup" in text
    assert "default@1-0" in text
    assert "done" in text.rpartition("Figures")[2]
