"""What counts as not consuming, second by second, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trapd.worker.consuming import QUIET, SLOW_CHILDREN, Consuming, Seen

IDLE = Seen(slots=2)


class Case:
    """A worker that is looked at once a second, and a broker that answers ``waiting``; None: it is away."""

    def __init__(self, waiting: Mapping[str, int] | None = None) -> None:
        self.now, self.waiting = 100.0, {} if waiting is None else waiting
        self.away = False
        self.judge = Consuming(self.now)
        self.asked: list[float] = []

    def run(self, seconds: float, seen: Seen = IDLE) -> str:
        for _ in range(round(seconds)):
            self.now += 1
            if self.judge.look(seen, self.now):
                self.asked.append(self.now)
                self.judge.asked(self.now)
                self.judge.answered(None if self.away else self.waiting, self.now)
        return self.judge.trouble


def test_a_worker_without_tasks_asks_once_a_minute_and_is_well() -> None:
    case = Case()
    assert case.run(600) == ""
    assert len(case.asked) == 10
    assert min(b - a for a, b in zip(case.asked, case.asked[1:], strict=False)) >= QUIET


def test_while_tasks_come_nobody_is_asked() -> None:
    case = Case({"celery": 9})
    for number in range(20):
        case.run(50, replace(IDLE, delivered=number))
    assert case.asked == []


def test_while_no_slot_is_free_nobody_is_asked() -> None:
    case = Case({"celery": 9})
    assert case.run(3600, replace(IDLE, active=2)) == ""
    assert case.asked == []


def test_messages_that_wait_at_two_answers_are_noticed_within_two_and_a_half_minutes() -> None:
    case = Case({"celery": 9})
    assert case.run(QUIET + 10) == ""
    assert case.run(80) == "messages wait (9 in celery), and none comes"
    assert case.judge.since == 100.0


def test_other_messages_at_each_answer_are_those_of_others() -> None:
    case = Case()
    for number in range(20):
        case.waiting = {f"queue{number}": 1}
        assert case.run(60) == ""


def test_a_delivery_ends_it() -> None:
    case = Case({"celery": 9})
    assert case.run(150)
    assert case.run(1, replace(IDLE, delivered=1)) == ""
    assert case.run(QUIET + 5, replace(IDLE, delivered=1)) == ""


def test_a_broker_that_does_not_answer_proves_nothing_and_what_it_said_before_is_forgotten() -> None:
    case = Case({"celery": 9})
    case.run(70)
    case.away = True
    assert case.run(600) == ""
    case.away = False
    assert case.run(QUIET) == ""
    assert case.run(QUIET + 5) != ""


def test_an_answer_from_before_a_delivery_does_not_count() -> None:
    case = Case()
    case.run(90)
    case.run(1, replace(IDLE, delivered=1))
    case.judge.answered({"celery": 1}, case.now - 10)
    case.run(1, replace(IDLE, delivered=1))
    case.judge.answered({"celery": 1}, case.now - 10)
    assert case.run(1, replace(IDLE, delivered=1)) == ""


def test_a_queue_that_is_missed_for_a_moment_is_none() -> None:
    case, missing = Case(), replace(IDLE, missing=("celery",))
    assert case.run(50, missing) == ""
    assert case.run(5) == ""
    assert case.run(50, missing) == ""
    assert case.run(15, missing) == "it does not take from queue celery"
    assert case.run(1) == ""


def test_tasks_that_the_pool_does_not_start() -> None:
    case, stuck = Case(), replace(IDLE, active=1, unstarted=3, started=7)
    assert case.run(50, stuck) == ""
    assert case.run(50, replace(stuck, started=8)) == ""
    assert case.run(20, replace(stuck, started=8)) == "its pool has free slots, and 3 tasks do not start"
    assert case.run(1, replace(stuck, active=2)) == ""


def test_processes_that_start_slowly_are_given_time() -> None:
    case, slow = Case(), replace(IDLE, unstarted=3, started=7, starting=True)
    assert case.run(QUIET * SLOW_CHILDREN - 5, slow) == ""
    assert case.run(10, slow) != ""


def test_a_dead_connection_is_noticed_if_the_broker_answers_another_one() -> None:
    case, dead = Case(), replace(IDLE, cut_off=True)
    case.away = True
    assert case.run(1800, dead) == ""
    case.away = False
    assert case.run(150, dead) == "its connection to the broker is dead, and another one is answered"
    assert case.run(1) == ""


def test_a_worker_that_is_busy_is_left_alone_with_its_dead_connection() -> None:
    assert Case().run(1800, replace(IDLE, cut_off=True, active=2)) == ""


def test_while_the_broker_is_away_nothing_is_held_against_it() -> None:
    case = Case({"celery": 9})
    case.run(150)
    case.judge.serve_not(case.now)
    assert case.judge.trouble == ""
    assert case.run(QUIET + 5) == ""
