"""The account is computed: each way to be wrong must show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from demo import images, summary
from trapd.distribute import sky
from trapd.distribute.ledger import Run
from trapd.distribute.submit import Answer

TIMES = summary.Times(steady=0.0, upgrade=10.0, upgraded=12.0, complete=30.0)
RA, DEC = sky.Source(*images.WHERE, 0).position(images.SIZE)
TRANSIENT = {"ra": RA, "dec": DEC}
STEADY = {"ra": 0.0, "dec": 0.0}


def run(task: int, end: float | None, version: str = "old", pid: int = 1) -> Run:
    started = (end or 0.0) - 0.1
    return Run(str(task), "n", pid, version, started, end)


def answer(task: int, sources: Sequence[dict[str, float]] = (), image: str = "/i", error: str = "") -> Answer:
    return Answer(str(task), image, 0.0, 1.0, {"sources": list(sources)}, error)


def ends(*at: float) -> list[Run]:
    return [run(number, end, "new" if end > 20 else "old") for number, end in enumerate(at)]


def account(runs: Sequence[Run], **changed: Any) -> summary.Account:
    tasks = list(dict.fromkeys(one.task for one in runs))
    values = {
        "tasks": tasks,
        "answers": [answer(int(task)) for task in tasks],
        "runs": runs,
        "times": TIMES,
        "new": "new",
    }
    return summary.account(**{**values, **changed})


GOOD = ends(1, 2, 3, 9, 11, 19, 21, 29, 31)


def test_a_good_run_has_no_problems() -> None:
    result = account(GOOD)
    assert result.tally == summary.Tally(9, 9, (), (), {"old": 6, "new": 3})
    assert result.unanswered == ()
    assert summary.problems(result, [], []) == []


def test_a_task_that_no_worker_finished_is_lost() -> None:
    result = account([*GOOD, run(77, None)])
    assert (result.tally.lost, result.tally.done) == (("77",), 9)
    assert summary.problems(result, [], []) == ["1 task lost: 77"]


def test_a_task_that_no_worker_ever_saw_is_lost_and_unanswered() -> None:
    result = account(GOOD, tasks=[*(one.task for one in GOOD), "77"])
    assert (result.tally.lost, result.unanswered) == (("77",), ("77",))


@pytest.mark.parametrize(
    ("gone", "lost"),
    [
        pytest.param((), (), id="its process may finish it"),
        pytest.param((7,), ("77",), id="its process is gone"),
        pytest.param(None, ("77", "88"), id="no process runs any more"),
    ],
)
def test_meanwhile_only_a_task_whose_process_is_gone_is_lost(
    gone: tuple[int, ...] | None, lost: tuple[str, ...]
) -> None:
    runs = [*GOOD, run(77, None, pid=7)]
    tasks = [*(one.task for one in runs), "88"]  # nobody has begun 88
    assert summary.tally(tasks, runs, gone).lost == lost


def test_a_lost_task_that_begins_again_is_not_lost_any_more_and_runs_twice() -> None:
    again = summary.tally(["77"], [run(77, None, pid=7), run(77, None, pid=8)], {7})
    assert (again.lost, again.twice) == ((), ("77",))


def test_the_tasks_of_the_series_are_not_counted_among_the_submitted_ones() -> None:
    of_the_series = [run(88, 15, "old"), run(89, 25, "new")]
    result = account([*GOOD, *of_the_series], tasks=[one.task for one in GOOD])
    assert result.tally.versions == {"old": 6, "new": 3}
    assert sum(result.tally.versions.values()) == result.tally.submitted


def test_the_rate_is_that_of_the_last_five_seconds() -> None:
    assert summary.rate([*ends(1, 5.5, 7, 10), run(4, None)], 10.0) == pytest.approx(3 / 5)


@pytest.mark.parametrize("first_end", [5.0, None], ids=["finished both times", "killed the first time"])
def test_a_task_that_began_twice_ran_twice(first_end: float | None) -> None:
    result = account([run(0, first_end), run(0, 6.0, pid=2), *GOOD[1:]])
    assert (result.tally.twice, result.tally.lost) == (("0",), ())
    assert "1 task run twice: 0" in summary.problems(result, [], [])


def test_a_finished_task_without_an_answer_is_unanswered_not_lost() -> None:
    result = account(GOOD, answers=[answer(number) for number in range(1, 9)])
    assert (result.unanswered, result.tally.lost) == (("0",), ())
    assert summary.problems(result, [], []) == ["1 task unanswered: 0"]


def test_a_task_that_failed_is_a_problem() -> None:
    failed = Answer("0", "/i", 0.0, 1.0, None, "cannot process /i: WorkerLostError: signal 9")
    result = account(GOOD, answers=[failed, *(answer(number) for number in range(1, 9))])
    assert summary.problems(result, [], []) == ["1 task failed: cannot process /i: WorkerLostError: signal 9"]


def test_gaps_before_and_during_are_told_apart() -> None:
    result = account(ends(1, 2, 4, 9.5, 12.5, 20, 24, 31, 50))
    assert result.gap_before == 5.5
    assert result.gap_during == 7.5  # 12.5 to 20; the gap after completion is nobody's


def test_a_gap_across_the_beginning_or_the_end_of_the_recycle_counts_as_during() -> None:
    assert account(ends(1, 3, 9, 17, 18, 29)).gap_during == 11
    assert account(ends(1, 3, 9, 17, 18, 40)).gap_during == 22


def test_warming_up_counts_for_nothing() -> None:
    assert account(ends(1, 8, 9), times=replace(TIMES, steady=5.0)).gap_before == 1


def test_a_gap_more_than_three_times_as_long_is_a_problem() -> None:
    assert summary.problems(account(ends(1, 3, 9, 27, 29)), [], []) == []  # 18 against 6
    (words,) = summary.problems(account(ends(1, 3, 9, 27.5, 29)), [], [])
    assert words == ("the longest gap during the recycle, 18.50 s, is more than 3 times the longest one before, 6.00 s")


def test_nothing_before_the_upgrade_is_a_problem_and_no_division_by_zero() -> None:
    assert summary.problems(account(ends(11, 19)), [], []) == ["no task was completed before the upgrade"]


def test_times_are_counted_from_pips_end() -> None:
    result = account(GOOD)
    assert result.first_new == pytest.approx(8.9)  # begun at 20.9, pip ended at 12
    assert result.complete == 18


def test_a_recycle_without_an_end_is_a_problem() -> None:
    result = account(ends(1, 5, 9, 11), times=replace(TIMES, complete=None))
    assert (result.first_new, result.complete) == (None, None)
    assert "the recycle did not come to its end" in summary.problems(result, [], [])


def test_two_rollouts_for_one_upgrade_are_a_problem() -> None:
    result = account(GOOD, times=replace(TIMES, rollouts=2))
    assert summary.problems(result, [], []) == ["one upgrade caused 2 rollouts"]


def test_a_stale_worker_is_a_problem() -> None:
    assert summary.problems(account(GOOD), [], ["default@1-0 is ready and stale"]) == [
        "worker default@1-0 is ready and stale"
    ]


# --- images ---------------------------------------------------------------------------------------------------------


def found(image: images.Image, *answers: Answer) -> summary.Found:
    (one,) = summary.found([image], answers)
    return one


@pytest.mark.parametrize(
    ("image", "sources", "as_made"),
    [
        (images.Image("/i", 2), [STEADY, STEADY], True),
        (images.Image("/i", 2), [STEADY], False),
        (images.Image("/i", 2, transient=True), [STEADY, TRANSIENT], True),
        (images.Image("/i", 2, transient=True), [STEADY, STEADY], False),
        (images.Image("/i", 2), [STEADY, TRANSIENT], False),
    ],
)
def test_an_image_is_as_made_if_all_its_sources_were_found_and_no_more(
    image: images.Image, sources: list[dict[str, float]], as_made: bool
) -> None:
    assert found(image, answer(1, sources)).as_made is as_made


def test_one_wrong_answer_among_many_shows() -> None:
    image = images.Image("/i", 2)
    one = found(image, answer(1, [STEADY] * 2), answer(2, [STEADY] * 3))
    assert one.sources == (2, 3)
    (words,) = summary.problems(account(GOOD), [one], [])
    assert words == "/i: 2 or 3, not as made"


def test_an_error_in_a_made_image_is_a_problem_and_in_the_users_own_is_not() -> None:
    bad = answer(1, image="/i", error="cannot read /i: the file is empty")
    assert summary.problems(account(GOOD), [found(images.Image("/i", 2), bad)], []) == [
        "/i: cannot read /i: the file is empty, not as made"
    ]
    own = found(images.Image("/i"), bad)
    assert summary.problems(account(GOOD), [own], []) == []
    assert ("sources in i", "cannot read /i: the file is empty") in summary.lines(account(GOOD), [own], "old", "new")


def test_the_summary_shows_every_figure() -> None:
    series = [images.Image("/a", 2), images.Image("/b", 3, transient=True)]
    answers = [answer(1, [STEADY] * 2, "/a"), answer(2, [STEADY, STEADY, TRANSIENT], "/b")]
    lines = dict(summary.lines(account(GOOD), summary.found(series, answers), "old", "new"))
    assert lines == {
        "tasks submitted": "9",
        "done": "9",
        "lost": "0",
        "run twice": "0",
        "unanswered": "0",
        "ran on trap old": "6",
        "ran on trap new": "3",
        "longest gap without a completed task, before": "6.00 s",
        "the same during the recycle": "8.00 s  (1.3 times)",
        "from the run's end to the first task on new": "8.90 s",
        "from the run's end to all workers on new": "18.00 s",
        "rollouts for the one upgrade": "1",
        "sources found per image": "2 to 3  (2 of 2 images exactly as made)",
        "the transient was seen in images": "2  (of 2)",
    }
