"""When a worker asks its broker, and how soon it so notices that its queues give nothing: in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from trapd.worker.consuming import QUIET, Consuming, Seen
from trapd.worker.questions import Questions
from trapd.worker.unfed import Unfed

LOOK = 0.9  # s, as the reporter does
ENOUGH = 150.0  # s: half a minute is left of the three, for the start of another worker
Gives = Callable[[str, float], bool]  # does this queue give a message now?


class Worker:
    """Looks as worker/consumption.py does; messages wait in each queue from the moment on at which it is lost."""

    def __init__(self, queues: str, gives: Gives, answer_takes: float) -> None:
        self.queues, self.gives, self.answer_takes = queues, gives, answer_takes
        self.judge, self.unfed, self.questions = Consuming(0.0), Unfed(0.0), Questions()
        self.marks = dict.fromkeys(queues, 0.0)
        self.asked: dict[str, list[float]] = {name: [] for name in queues}
        self.connections: list[float] = []

    def noticed(self, lost: dict[str, float], until: float, full: Callable[[float], bool] = lambda now: False) -> float:
        now, answers = 0.0, list[tuple[float, Callable[[], None]]]()
        while now < until:
            now += LOOK
            for name in self.queues:
                if now < lost.get(name, until) and self.gives(name, now):
                    self.marks[name] = now
            for _, act in [answers.pop(0) for answer in list(answers) if answer[0] <= now]:
                act()
            idle = self.judge.look(Seen(delivered=max(self.marks.values())), now)
            wanted = self.unfed.look(self.marks, not full(now), now)
            if self.judge.trouble or self.unfed.trouble:
                return now
            due = self.questions.due(self.queues, wanted, now, idle=idle)
            if due is not None and not answers:
                answers.append((now + self.answer_takes, self._ask(due, lost, now, idle)))
        return now

    def _ask(self, due: list[str], lost: dict[str, float], now: float, idle: bool) -> Callable[[], None]:
        self.connections.append(now)
        for name in due:
            self.asked[name].append(now)
        if idle:
            self.judge.asked(now)
        self.questions.asked(due, now)
        found = {name: 7 for name in due if lost.get(name, now) < now}

        def answer() -> None:
            known = self.questions.answered(found, due)
            if idle:
                self.judge.answered(known, now)
            self.unfed.answered(found, due, now)

        return answer

    def check(self) -> None:
        """At most one question for each queue and minute."""
        for times in self.asked.values():
            assert min((b - a for a, b in pairwise(times)), default=QUIET) >= QUIET
        assert min((b - a for a, b in pairwise(self.connections)), default=QUIET) >= 5.0


@pytest.mark.parametrize("answer_takes", [0.05, 4.0])
@pytest.mark.parametrize("lost", ["b", "ab", "abc"])
def test_a_lost_queue_is_noticed_well_within_three_minutes_whenever_others_were_asked_for(
    lost: str, answer_takes: float
) -> None:
    """``c`` gives nothing, and so is asked for each minute; the loss comes at each moment of that minute, just after a
    message. With one question for all queues, the one for ``c`` kept those for others waiting: up to 184 s."""
    for at in range(200, 262):
        worker = Worker("abc", lambda name, now: name != "c", answer_takes)
        took = worker.noticed(dict.fromkeys(lost, float(at)), at + 400.0) - at
        assert took < ENOUGH, f"lost at {at}"
        worker.check()


@pytest.mark.parametrize("every", [2.0, 3.0, 4.0, 7.0])
def test_a_worker_that_often_has_no_room_is_not_missed_for_another_minute(every: float) -> None:
    for at in range(200, 262):
        worker = Worker("abc", lambda name, now: name != "c", 0.05)
        took = worker.noticed({"b": float(at)}, at + 400.0, lambda now: now % every < LOOK) - at
        assert took < ENOUGH, f"lost at {at}"
        worker.check()


@pytest.mark.parametrize("period", [5.0, 59.0, 61.0, 150.0, 1000.0])
def test_queues_that_give_now_and_then_are_well(period: float) -> None:
    worker = Worker("abc", lambda name, now: name == "a" or now % period < LOOK, 0.05)
    assert worker.noticed({}, 7200.0) >= 7200.0
    worker.check()


def test_a_broker_that_does_not_answer_says_nothing_of_any_queue() -> None:
    questions = Questions()
    assert questions.answered({"a": 3}, ["a", "b"]) == {"a": 3}
    assert questions.answered({"b": 1}, ["b"]) == {"a": 3, "b": 1}
    assert questions.answered(None, ["b"]) is None
    assert questions.answered({}, ["b"]) == {}
