"""The figures as texts: nothing that is named is cut, however narrow the terminal is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demo.status import Status, Worker
from demo.summary import Tally
from demo.view import View, activity, lines, one_line

README = Path(__file__).parents[3] / "README.md"
NOW = 1000.0
WORKERS = (
    Worker("default@2-2", "starting", NOW - 18, "-", "?", None),
    Worker("default@2-1", "ready", NOW - 29, "current", "1.4.0", 0),
    Worker("default@1-1", "ready", NOW - 90, "stale", "1.3.0", 1),
)
STATUS = Status("settled", "", "1.4.0", 2, 2, "rolling", "trap 1.3.0 -> 1.4.0", 2, None, 0, WORKERS)
TASKS = Tally(400, 398, (), (), {"1.3.0": 340, "1.4.0": 58})
VIEW = View("trapd recycles the workers", NOW - 62, None, TASKS, 4.9, STATUS, 34.6)

SCREENS = {
    120: """\
trapd recycles the workers, 62 s
398 of 400 tasks done, 0 lost, 0 run twice, 4.9 tasks per second
340 ran on trap 1.3.0, 58 ran on trap 1.4.0
on disk: trap 1.4.0, settled; rollout rolling
default@2-2  importing Trap 18 s of about 35 s
default@2-1  ready on trap 1.4.0, current, 0 tasks
default@1-1  ready on trap 1.3.0, stale, 1 task
""",
    40: """\
trapd recycles the workers, 62 s
398 of 400 tasks done, 0 lost, 0 run
  twice, 4.9 tasks per second
340 ran on trap 1.3.0, 58 ran on trap
  1.4.0
on disk: trap 1.4.0, settled; rollout
  rolling
default@2-2  importing Trap 18 s of
  about 35 s
default@2-1  ready on trap 1.4.0,
  current, 0 tasks
default@1-1  ready on trap 1.3.0, stale,
  1 task
""",
}
SCREENS[80] = SCREENS[120]


@pytest.mark.parametrize("width", SCREENS)
def test_the_picture_at(width: int) -> None:
    assert "\n".join([*lines(VIEW, NOW, width), ""]) == SCREENS[width]


def test_readme_shows_the_picture() -> None:
    assert f"```text\n{SCREENS[80]}```" in README.read_text()


@pytest.mark.parametrize("width", [10, 40, 80, 120])
def test_no_line_is_too_long_and_no_word_is_missing(width: int) -> None:
    bad = replace(TASKS, lost=("a", "b"), twice=("c",))
    view = replace(VIEW, tasks=bad, stage="pip install trap==1.3.0 celery (Trap's own virtual environment)")
    shown = lines(view, NOW, width)
    assert max(map(len, shown)) <= width
    whole = "".join("".join(shown).split())
    for words in ("2 lost", "1 run twice", "virtual environment), 62 s", *(worker.name for worker in WORKERS)):
        assert "".join(words.split()) in whole


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (None, "importing Trap 18 s"),  # the first start: nobody knows how long it takes
        (34.6, "importing Trap 18 s of about 35 s"),
        (12.0, "importing Trap 18 s, and the last start took 12 s"),
    ],
)
def test_an_import_shows_how_long_the_last_one_took(last: float | None, words: str) -> None:
    assert activity(WORKERS[0], NOW, last) == words


def test_a_worker_that_leaves_shows_for_how_long_and_why_not_yet() -> None:
    leaving = Worker("default@1-2", "draining", NOW - 3, "stale", "1.3.0", 1)
    assert activity(leaving, NOW, 34.6) == "draining 3 s on trap 1.3.0, 1 task"


def test_clocks_that_differ_show_nothing_below_zero() -> None:
    assert activity(WORKERS[0], NOW - 60, 34.6) == "importing Trap 0 s of about 35 s"


def test_a_view_in_one_line() -> None:
    assert one_line(VIEW, NOW) == (
        "trapd recycles the workers, 62 s; 398 of 400 tasks done, 0 lost, 0 run twice, 4.9 tasks per second; "
        "340 ran on trap 1.3.0, 58 ran on trap 1.4.0; default@2-2 importing Trap 18 s of about 35 s; "
        "default@2-1 ready on trap 1.4.0, current, 0 tasks; default@1-1 ready on trap 1.3.0, stale, 1 task"
    )


def test_before_there_is_anything_to_count_only_the_stage_is_shown() -> None:
    early = View("pip install trap==1.3.0", NOW - 3)
    assert one_line(early, NOW) == "pip install trap==1.3.0, 3 s"
    assert lines(early, NOW, 80) == ["pip install trap==1.3.0, 3 s"]
    assert lines(View("working", NOW, tasks=Tally(1, 0, (), (), {})), NOW, 80) == [
        "working, 0 s",
        "0 of 1 tasks done, 0 lost, 0 run twice, 0.0 tasks per second",
    ]


def test_a_run_of_the_series_is_shown_as_long_as_it_goes_on() -> None:
    view = replace(VIEW, series=(7, 12))
    assert "trapctl run: 7 answers for 12 images" in lines(view, NOW, 80)
    assert "; trapctl run: 7 answers for 12 images; " in one_line(view, NOW)
