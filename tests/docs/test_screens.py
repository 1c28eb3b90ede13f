"""docs/screens.md is what trapctl shows, and on no terminal is anything cut that names a worker, a task or a reason."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest

from docs import screens
from docs.screens import SCREENS, WIDTHS, Shown
from tests.support.json_schema import faults
from trapd.ctl.render import Bars, Screen

NAMED = ("name", "reason", "waiting", "next", "cause", "message", "refused", "actor")
EACH = pytest.mark.parametrize("shown", SCREENS, ids=lambda shown: shown.document)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def names(document: object, member: str = "") -> Iterator[str]:
    """Every text of a stored document that people look for."""
    match document:
        case dict():
            for name, value in document.items():
                yield from names(value, name)
        case list():
            for value in document:
                yield from names(value, "reason" if member == "problems" else member)
        case str() if document and member in NAMED:
            yield document


def test_the_page_is_as_it_would_be_written_now() -> None:
    assert screens.FILE.read_text() == screens.page(), "run: python -m docs.screens"


@EACH
def test_the_stored_documents_fit_the_schema(shown: Shown) -> None:
    assert faults(screens.load(shown), shown.definition) == []


@EACH
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_terminal_is_wide_but_a_traceback(shown: Shown, width: int) -> None:
    lines = screens.render(shown, width).splitlines()
    assert [line for line in lines if len(line) > width and not line.startswith(" " * 6)] == []


@EACH
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_that_names_a_worker_a_task_or_a_reason(shown: Shown, width: int) -> None:
    document = json.loads(json.dumps(screens.load(shown)))
    told = "".join(screens.render(shown, width).split())
    for pool in document.get("pools", []):
        pool.pop("last_event")
        why = pool.pop("rollout")["reason"]  # of one that is over and went well none to be shown
        pool["problems"] = [why if problem.endswith(why) else problem for problem in pool["problems"]]
    for rollout in document.get("rollouts", []):
        if rollout["state"] == "complete":
            rollout["reason"] = ""
    document.get("rollout", {}).clear()
    document["problems"] = [problem.partition(": ")[2] for problem in document.get("problems", [])]
    for text in names(document):
        assert "".join(text.split()) in told, text


@EACH
def test_a_date_is_shown_at_any_width(shown: Shown) -> None:
    if shown.document in ("history", "generations"):
        rows = len(next(iter(value for value in screens.load(shown).values() if isinstance(value, list))))
        for width in WIDTHS:
            dates = re.findall(r"20\d\d-\d\d-\d\d\s+\d\d:\d\d:\d\d", screens.render(shown, width))
            assert len(dates) == rows, width


@pytest.mark.parametrize("width", WIDTHS)
def test_colours_change_nothing_but_colours(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for shown in SCREENS:
        if shown.document == "progress":
            continue
        stream = Terminal()
        shown.show(Screen(stream, width=width), screens.load(shown))
        plain = io.StringIO()
        shown.show(Screen(plain, width=width), screens.load(shown))
        assert re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()) == plain.getvalue()
        assert shown.definition != "Status" or "\x1b[32mready\x1b[0m" in stream.getvalue()


def test_a_bar_is_not_full_while_an_old_worker_drains() -> None:
    progress = json.loads((screens.FOLDER / "progress.json").read_text())
    assert (progress["updated"], progress["wanted"], progress["draining"]) == (2, 2, 1)

    def bar() -> str:
        stream = io.StringIO()
        Bars(Screen(stream, width=120)).progress(progress)
        return stream.getvalue().partition("]")[0]

    assert "." in bar()
    progress |= {"old": 0, "draining": 0, "rollout": {**progress["rollout"], "ended": 1.0, "state": "complete"}}
    assert "." not in bar()
