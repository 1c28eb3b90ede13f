"""What people see, at any width, with and without colours."""

from __future__ import annotations

import io
import pty
import re
import termios
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_controller import TRACEBACK, FakeController, RealClock, about, settled, worker
from tests.support.no_accounts import NO_ACCOUNTS
from trapd.control import documents
from trapd.control.methods import Question
from trapd.control.needs import Context
from trapd.control.progress import progress
from trapd.control.status import status
from trapd.ctl.render import Bars, Lines, Screen
from trapd.ctl.session import Session
from trapd.ctl.verbs import status as status_verb
from trapd.ctl.verbs import why as why_verb
from trapd.ctl.verbs.status import show
from trapd.ctl.words import Row, clean, last_lines
from trapd.model import Disk, DiskState, Rollout, RolloutState

CLOCK = RealClock()
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def troubled() -> FakeController:
    """An upgrade was rejected; one old worker drains, one is mixed; the disk broke since."""
    controller = settled(CLOCK)
    controller.disk = Disk(DiskState.BROKEN, "pip was killed: ~rap is left in site-packages", "f9", {"trap": "1.4.0"})
    rollout = Rollout(3, "default", 8, 7, RolloutState.REJECTED, "default@8-1 failed to start", "watch", 0.0, 0.0)
    controller.put(
        "default",
        state=replace(controller.pool("default").state, rollout=replace(rollout, detail=TRACEBACK, ended_wall=12.0)),
        instances=(
            worker(CLOCK, "default@8-1", "failed", ago=7230.0),
            worker(CLOCK, "default@7-1", "draining", ago=7230.0),
            worker(CLOCK, "default@7-2", ago=7230.0, active_tasks=None),
        ),
        waiting="default@7-1 to finish its tasks",
    )
    return controller


def document(controller: FakeController) -> documents.Status:
    return status(Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS))


def shown(width: int | None, *, terminal: bool) -> str:
    stream = Terminal() if terminal else io.StringIO()
    show(Screen(stream, width=width), document(troubled()))
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 100, 160])
def test_on_a_terminal_no_line_is_longer_than_it_is_wide_but_a_traceback_is_whole(width: int) -> None:
    lines = ANSI.sub("", shown(width, terminal=True)).splitlines()
    assert [line for line in lines if len(line) > width and not line.startswith(" " * 6)] == []


@pytest.mark.parametrize("width", [60, 100, 160])
def test_what_matters_is_there_at_any_width(width: int) -> None:
    text = " ".join(ANSI.sub("", shown(width, terminal=True)).split())
    for words in (
        "pid 4242, embedded",
        "disk broken, trap 1.4.0 (f9): pip was killed: ~rap is left in site-packages",
        "pool default: not as desired, 1 of 2 ready, trap 1.3.0, generation 7 (f7)",
        "default@8-1 failed to start",
        "ModuleNotFoundError: No module named 'numba_next'",
        "waits for default@7-1 to finish its tasks",
        "problem 1 of 2 workers are ready",
        "default@8-1 failed 2h00m -",
        "default@7-1 draining 2h00m 1.3.0",
    ):
        assert words in text, words


def test_status_says_what_troubles_trapd_itself_and_nothing_twice() -> None:
    trouble = "trapd.toml:15: pools.default.workers: cannot use -2 here; the configuration read before stays in force"
    stream, controller = io.StringIO(), troubled()
    about_it = replace(about(), state=lambda: "stopping")
    show(
        Screen(stream),
        status(Context(about_it, controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS), troubles=[trouble]),
        CLOCK.wall(),
    )
    lines = stream.getvalue().splitlines()
    assert f"problem: {trouble}" in lines
    assert len([line for line in lines if "trapd" in line and "stopping" in line]) == 1
    assert len([line for line in lines if controller.disk.reason in line]) == 1


def test_what_is_broken_on_the_disk_has_its_age() -> None:
    stream, found = io.StringIO(), document(troubled())
    show(Screen(stream), found, found["open_problems"][0]["since"] + 90)
    [line] = [line for line in stream.getvalue().splitlines() if line.startswith("disk")]
    assert line.endswith("~rap is left in site-packages (for 1m30s)")


def test_a_table_that_does_not_fit_becomes_some_lines_for_each_row() -> None:
    def first(width: int) -> str:
        lines = ANSI.sub("", shown(width, terminal=True)).splitlines()
        return next(line for line in lines if line.startswith(("WORKER", "default@")))

    assert first(100).split() == ["WORKER", "STATE", "CODE", "TASKS", "UP", "RESTARTS", "MEMORY"]
    assert first(36).split() == ["default@8-1", "failed", "2h00m", "-"]


def test_in_a_pipe_lines_are_whole_and_plain_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = shown(None, terminal=False)
    assert "\x1b" not in text
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert "disk  broken, trap 1.4.0 (f9): pip was killed: ~rap is left in site-packages" in text.splitlines()


def test_a_terminal_is_as_wide_as_it_is_whatever_columns_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "123")
    ours, theirs = pty.openpty()
    with open(ours), open(theirs, "w") as terminal:  # noqa: PTH123
        assert Screen(terminal).width == 123, "the kernel knows no width yet"
        termios.tcsetwinsize(theirs, (24, 40))
        assert Screen(terminal).width == 40


def test_no_color_switches_colours_off_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = shown(100, terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shown(100, terminal=True)
    colours = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")
    assert colours.search(coloured)
    assert not colours.search(plain)
    assert ANSI.sub("", coloured) == ANSI.sub("", plain)


def test_named_pools_are_shown_alone() -> None:
    asked = document(settled(CLOCK))
    other: documents.Pool = {**asked["pools"][0], "name": "other"}
    stream = io.StringIO()

    class Answered(Session):
        screen = Screen(stream)

        def ask(self, question: Question[Any], *, patience: float = 0.0) -> Any:
            return {**asked, "pools": [*asked["pools"], other]}

    status_verb.verb.main(["other"], standalone_mode=False, obj=Answered(None, None, {}))
    assert "pool other" in stream.getvalue()
    assert "pool default" not in stream.getvalue()


def test_what_others_wrote_cannot_steer_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert clean("a\x1b[31mb\x07\rc\udcffd\u202ee\nf") == "a [31mb  c d e\nf"
    stream = Terminal()
    screen = Screen(stream, width=80)
    screen.line("[red]reason[/red] :bomb: \x1b]0;owned\x07")
    screen.lines(["\x1b[2J"], indent=2)
    screen.table(["A"], [Row(["\x1b[2J"])])
    assert "\x1b]0" not in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()
    assert "[red]reason[/red] :bomb:" in stream.getvalue()


def test_a_long_line_goes_on_below_indented() -> None:
    stream = Terminal()
    Screen(stream, width=30).line("word " * 12, indent=2)
    lines = stream.getvalue().splitlines()
    assert len(lines) > 1
    assert lines[0].startswith("  word")
    assert all(line.startswith("    word") for line in lines[1:])


# --- progress -------------------------------------------------------------------------------------------------------


def said(updated: int, message: str, waiting: str = "") -> documents.Progress:
    rollout = Rollout(3, "default", 8, 7, RolloutState.ROLLING, "trap 1.4.0", "watch", 0.0, 0.0)
    controller = settled(CLOCK)
    controller.put("default", waiting=waiting)
    return {**progress(controller.pool("default"), rollout), "updated": updated, "message": message}


def test_in_a_pipe_progress_is_one_line_for_each_change() -> None:
    stream = io.StringIO()
    with Lines(Screen(stream)) as lines:
        for one in (said(0, "a"), said(0, "a"), said(1, "b ...", "READY"), said(1, "paused", "you"), said(2, "c")):
            lines.progress(one)
    assert stream.getvalue().splitlines() == ["a", "b ... waiting for READY", "paused; waiting for you", "c"]


def test_on_a_terminal_progress_is_a_bar_and_its_last_words_stay() -> None:
    stream = Terminal()
    with Bars(Screen(stream, width=80)) as bars:
        bars.progress(said(1, "half"))
        bars.note("something else happened")
        bars.progress(said(2, "all of it"))
    text = ANSI.sub("", stream.getvalue())
    assert "[#####...............] half" in text
    assert "something else happened" in text
    assert text.rstrip().endswith("all of it")


def test_a_bar_fits_into_the_width() -> None:
    stream = Terminal()
    with Bars(Screen(stream, width=60)) as bars:
        bars.progress(said(1, "x" * 200))
        drawn = [ANSI.sub("", line) for line in re.split(r"[\r\n]", stream.getvalue())]
    assert max(len(line) for line in drawn) <= 60


def test_the_end_of_a_traceback_leaves_out_the_import_machinery() -> None:
    frames = [f'  File "<frozen importlib._bootstrap>", line {n}, in _gcd_import' for n in range(9)]
    detail = "\n".join(["Traceback (most recent call last):", *frames, '  File "x.py", line 1', "ValueError: no", ""])
    assert last_lines(detail, 3) == ["Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no"]
    assert last_lines("", 3) == []


def test_why_shows_all_of_a_long_message() -> None:
    """pydantic and Django list what is wrong, one in a line, and the first says what it is about."""
    detail = "\n".join(["Traceback (most recent call last):", "ValueError: 60 of them:", *map(str, range(60))])
    stream = io.StringIO()
    why_verb.show(Screen(stream), {"schema": 2, "subject": "8", "kind": "rollout", "chain": [], "detail": detail})
    assert [line.strip() for line in stream.getvalue().splitlines()] == detail.splitlines()
