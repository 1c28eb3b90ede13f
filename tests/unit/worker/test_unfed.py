"""One queue of several that gives nothing, one process of several that begins nothing: in virtual time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace

from trapd.worker.consuming import QUIET
from trapd.worker.questions import Questions
from trapd.worker.unfed import STEADY, Unbegun, Unfed, given


class Case:
    """Two queues, looked at once a second: ``red`` gives a message each second, ``blue`` gives none."""

    def __init__(self, waiting: Mapping[str, int] | None = None) -> None:
        self.now, self.waiting, self.judge = 100.0, waiting or {}, Unfed(100.0)
        self.questions = Questions()
        self.asked: list[float] = []  # when for blue

    def run(self, seconds: float, *, room: bool = True, blue: object = None, queues: Collection[str] = ()) -> str:
        for _ in range(round(seconds)):
            self.now += 1
            marks = {"red": self.now, "blue": blue}
            delivered = {name: marks[name] for name in queues or marks}
            lost = self.judge.look(delivered, room, self.now)
            if (due := self.questions.due(delivered, lost, self.now, idle=False)) is not None:
                self.asked += [self.now] * due.count("blue")
                self.questions.asked(due, self.now)
                self.judge.answered({name: self.waiting.get(name, 0) for name in due}, due, self.now)
        return self.judge.trouble


def test_a_lost_queue_is_noticed_within_three_minutes_though_another_one_gives() -> None:
    case = Case({"blue": 3, "red": 9})
    assert case.run(QUIET + 30) == ""
    assert case.run(110) == "messages wait (3 in blue), and none comes, while other queues give theirs"
    assert case.judge.since == 101.0
    assert case.run(1, blue=1) == ""


def test_an_empty_queue_is_asked_for_once_a_minute_and_is_well() -> None:
    case = Case({"red": 9})
    assert case.run(600) == ""
    assert min(b - a for a, b in zip(case.asked, case.asked[1:], strict=False)) >= QUIET


def test_a_queue_that_gives_now_and_then_is_well() -> None:
    case = Case({"blue": 3})
    for number in range(20):
        assert case.run(100, blue=number) == ""


def test_without_room_nobody_is_asked_and_a_moment_of_room_proves_nothing() -> None:
    case = Case({"blue": 3})
    for _ in range(100):
        assert case.run(6, room=False) == ""
        case.run(3)
    assert case.asked == []


def test_a_single_queue_is_not_its_concern() -> None:
    case = Case({"blue": 3})
    assert case.run(600, queues=["blue"]) == ""
    assert case.asked == []


def test_a_look_without_room_now_and_then_costs_seconds_and_no_minute() -> None:
    """A worker that is given tasks all the time has none at every third look, say."""
    case = Case({"blue": 3})
    while case.run(2) == "":
        case.run(1, room=False)
    assert case.now - 100.0 < 2 * QUIET + 15


def test_an_answer_counts_though_there_is_no_room_when_it_is_read() -> None:
    case = Case({"blue": 3})
    while case.run(1) == "":
        if case.asked and case.asked[-1] == case.now:
            case.run(1, room=False)
    assert case.now - 100.0 < 2 * QUIET + 15


def test_an_answer_that_took_long_does_not_count_if_there_was_no_room_meanwhile() -> None:
    case = Case()
    case.run(QUIET + 5)
    for _ in range(2):
        case.now += QUIET
        asked_at = case.now - 2 * STEADY
        case.run(3, room=False)
        case.judge.answered({"blue": 3}, ["blue"], asked_at)
        assert case.run(1, room=False) == ""


def test_messages_that_waited_once_do_not_count() -> None:
    case = Case({"blue": 3})
    case.run(QUIET + 5)
    case.waiting = {}
    case.run(QUIET)
    case.waiting = {"blue": 3}
    assert case.run(QUIET + 1) == ""


def test_a_broker_that_is_away_makes_it_begin_anew() -> None:
    case = Case({"blue": 3})
    assert case.run(200) != ""
    case.judge.begin_anew()
    assert case.judge.trouble == ""
    assert case.run(QUIET + 5) == ""


def test_a_process_that_does_not_begin_its_task_is_noticed_though_others_work() -> None:
    judge = Unbegun()
    for second in range(round(QUIET)):
        judge.look({"stuck", second}, float(second))
    assert judge.trouble == ""
    judge.look({"stuck"}, QUIET)
    assert (judge.trouble, judge.since) == ("1 process of its pool did not begin the task that it was given", 0.0)
    judge.look((), QUIET + 1)
    assert judge.trouble == ""


def test_what_processes_were_given_is_seen_in_a_fair_pool_alone() -> None:
    def job(number: int, *, accepted: bool, alive: bool | None) -> SimpleNamespace:
        process = None if alive is None else SimpleNamespace(_is_alive=lambda: alive)
        return SimpleNamespace(_job=number, _accepted=accepted, _write_to=process)

    jobs = {
        0: job(0, accepted=False, alive=True),
        1: job(1, accepted=True, alive=True),
        2: job(2, accepted=False, alive=False),
        3: job(3, accepted=False, alive=None),
    }
    assert given(SimpleNamespace(_pool=SimpleNamespace(sched_strategy=4, _cache=jobs))) == [0]
    assert given(SimpleNamespace(_pool=SimpleNamespace(sched_strategy=1, _cache=jobs))) == []
    assert given(SimpleNamespace()) == []
