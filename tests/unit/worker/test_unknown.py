"""A task that this worker does not know is parked, or handed back for a while where there is no parking queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from trapd.worker import unknown
from trapd.worker.aside import Aside
from trapd.worker.parking import Judge, Verdict
from trapd.worker.poison import Poison


class Message:
    def __init__(self, id: str = "a", protocol: int = 2) -> None:
        fields: dict[str, object] = {"id": id, "task": "naps.new"}
        self.headers = fields if protocol == 2 else {}
        self.payload = fields
        self.delivery_info: dict[str, object] = {}
        self.acknowledged = False
        self.requeued = 0

    def reject_log_error(self, logger: object, errors: object, requeue: bool = False) -> None:
        self.acknowledged = True
        self.requeued += requeue


class Consumer:
    """As much of Celery's as is needed; a call for later is kept with its delay."""

    connection_errors = ()
    connection = SimpleNamespace(transport=SimpleNamespace(polling_interval=0.1, driver_type="sqs"))
    strategies: ClassVar[dict[str, object]] = {"naps.known": None}
    task_consumer = SimpleNamespace(queues=[])

    def __init__(self, hub: bool) -> None:
        self.hub, self.room = hub, 0
        self.discarded: list[Message] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.soon: list[Callable[[], None]] = []
        self.qos = self.timer = self

    def on_unknown_task(self, body: object, message: Message, error: Exception) -> None:
        self.discarded.append(message)

    def increment_eventually(self) -> None:
        self.room += 1

    def decrement_eventually(self) -> None:
        self.room -= 1

    def call_after(self, seconds: float, function: Callable[[], None]) -> object:
        self.later.append((seconds, function))
        return self.later[-1]

    def call_repeatedly(self, seconds: float, function: Callable[[], None]) -> object:
        self.each = function
        return self.each

    def cancel(self, entry: Any) -> None:
        self.later = [call for call in self.later if call is not entry]

    def call_soon(self, function: Callable[..., None], *arguments: Any) -> None:
        self.soon.append(lambda: function(*arguments))


class Lot:
    """A parking queue that holds so many messages, of which a look finds so many to put back."""

    def __init__(self) -> None:
        self.holds, self.finds, self.looks, self.broken = 0, 0, 0, False
        self.marks: list[dict[str, Any]] = []

    def waiting(self, queue: object) -> int:
        self.looks += 1
        if self.broken:
            raise OSError("no broker")
        return self.holds

    def walk(self, queue: object, judge: Judge, at_most: int, seconds: float) -> int:
        for mark in self.marks:
            judge(mark)
        return self.finds

    def close(self) -> None:
        pass


class Case:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, hub: bool = True) -> None:
        (folder / "7").mkdir()
        self.now = 100.0
        self.slept: list[float] = []
        monkeypatch.setattr(unknown, "SPREAD", 0.0)
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now, sleep=self.slept.append)
        monkeypatch.setattr(unknown, "time", clock)
        self.consumer = Consumer(hub)
        self.lot = Lot()
        self.aside = Aside()
        lot: Any = self.lot
        self.poison = poison = Poison(folder / ".poison", "default", "here", 3)
        self.unknown = unknown.Unknown(self.consumer, folder / "7", lot, self.aside, poison)

    def receive(self, message: Message) -> Message:
        self.unknown(None, message, KeyError("naps.new"))
        return message

    def wait(self) -> float:
        """Let the next delay pass; its length."""
        seconds, function = self.consumer.later.pop(0)
        self.now += seconds
        function()
        for call in self.consumer.soon:
            call()
        self.consumer.soon.clear()
        return seconds


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, monkeypatch)


@pytest.mark.parametrize("protocol", [1, 2])
def test_it_is_held_a_moment_and_handed_back_and_takes_no_room_meanwhile(case: Case, protocol: int) -> None:
    message = case.receive(Message(protocol=protocol))
    assert (message.requeued, case.consumer.room) == (0, 1)
    assert case.wait() == unknown.FIRST_PAUSE
    assert (message.requeued, case.consumer.room, case.consumer.discarded) == (1, 0, [])


def test_the_pauses_grow_so_that_no_message_runs_in_circles(case: Case) -> None:
    pauses = []
    while not case.consumer.discarded:
        case.receive(Message())
        if case.consumer.later:
            pauses.append(case.wait())
    assert pauses[:7] == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0]
    assert set(pauses[8:]) == {unknown.LONGEST_PAUSE}


def test_no_two_pauses_are_quite_alike(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "SPREAD", 0.3)
    pauses = []
    for id in range(50):
        case.receive(Message(str(id)))
        pauses.append(case.wait())
    assert len(set(pauses)) == 50
    assert 0.35 <= min(pauses) < max(pauses) <= 0.65


def test_nobody_knows_it_after_a_while_so_it_is_discarded_as_ever(case: Case) -> None:
    case.receive(Message())
    case.now += unknown.PATIENCE
    assert case.consumer.discarded == [case.receive(Message())]


def test_a_message_held_over_a_reconnect_leaves_the_new_prefetch_alone(case: Case) -> None:
    case.receive(Message())
    old, new = case.consumer, Consumer(hub=True)
    old.qos = new
    case.wait()
    assert (old.room, new.room) == (0, 0)


def test_where_newer_code_exists_it_is_handed_back_for_longer(case: Case, tmp_path: Path) -> None:
    (tmp_path / "8").mkdir()
    case.receive(Message())
    case.now += unknown.PATIENCE_WHEN_OLD - 1
    case.receive(Message())
    assert not case.consumer.discarded
    case.now += 1
    assert case.consumer.discarded == [case.receive(Message())]


def test_older_code_does_not_count(case: Case, tmp_path: Path) -> None:
    for name in ("6", "8.tmp", "x"):
        (tmp_path / name).mkdir()
    assert unknown.newest_beside(tmp_path / "7") is None
    (tmp_path / "10").mkdir()
    assert unknown.newest_beside(tmp_path / "7") == 10


def test_without_a_hub_the_loop_hands_it_back_and_not_the_timers_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path, monkeypatch, hub=False)
    message = case.receive(Message())
    _, function = case.consumer.later.pop()
    function()
    assert message.requeued == 0
    [call] = case.consumer.soon
    call()
    assert message.requeued == 1
    assert case.slept == [0.2]  # so that another worker polls before this one


def test_one_that_was_settled_meanwhile_is_left_alone(case: Case) -> None:
    message = case.receive(Message())
    message.acknowledged = True
    case.wait()
    assert (message.requeued, case.consumer.room) == (0, 0)


def test_what_is_remembered_is_bounded(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "_REMEMBERED", 3)
    for id in "abcdef":
        case.receive(Message(id))
    assert len(case.unknown._hand_back._seen) == 3


@pytest.mark.parametrize("age", [0.0, 1e6])
def test_what_is_parked_goes_back_to_who_knows_it_and_stays_otherwise(case: Case, age: float) -> None:
    since = case.now
    case.now += age
    assert case.unknown.judge({"task": "naps.known", "id": "a", "since": since}) is Verdict.BACK
    assert case.unknown.judge({"task": "naps.new", "id": "a", "since": since}) is Verdict.STAYS


@pytest.mark.parametrize(
    ("age", "newer", "set_aside"),
    [
        (unknown.PATIENCE - 1, False, False),
        (unknown.PATIENCE, False, True),
        (unknown.PATIENCE_WHEN_OLD - 1, True, False),
        (unknown.PATIENCE_WHEN_OLD, True, True),
    ],
)
def test_what_no_worker_knows_for_long_counts_as_set_aside(
    case: Case, tmp_path: Path, age: float, newer: bool, set_aside: bool
) -> None:
    if newer:
        (tmp_path / "8").mkdir()
    since = case.now
    case.now += age
    assert case.unknown.set_aside({"task": "naps.new", "id": "a", "since": since}) is set_aside


def test_what_was_parked_long_before_a_worker_came_counts_only_after_a_while(case: Case) -> None:
    """The generation after it may know it."""
    mark = {"task": "naps.new", "id": "a", "since": case.now - 500.0}
    assert not case.unknown.set_aside(mark)
    case.now += unknown.PATIENCE
    assert case.unknown.set_aside(mark)


def test_what_an_earlier_worker_has_given_up_is_parked_as_well(case: Case) -> None:
    message = Message()
    message.headers["trapd-parked"] = {"given_up": True}
    case.receive(message)
    assert case.consumer.discarded == []


def test_what_is_set_aside_is_counted_by_name_until_the_parking_queue_is_empty(case: Case) -> None:
    marks: list[dict[str, Any]] = [
        {"task": task, "id": "a", "since": case.now} for task in ("naps.new", "naps.gone", "naps.new")
    ]
    round = Round(case)
    case.lot.marks = marks
    case.lot.holds = 3
    round.pauses(1)
    assert case.aside.told() == []
    case.now += unknown.PATIENCE
    round.pauses(1)
    assert [(one["queue"], one["task"], one["messages"]) for one in case.aside.told()] == [
        ("q.trapd-parked", "naps.new", 2),
        ("q.trapd-parked", "naps.gone", 1),
    ]
    case.lot.marks = marks[:1]  # the walk was broken off: there may be more
    round.pauses(1)
    assert case.aside.messages == 3
    case.lot.holds = 1
    round.pauses(1)
    assert case.aside.messages == 1
    case.lot.holds = 0
    round.pauses(1)
    assert case.aside.told() == []


def test_what_cannot_be_parked_and_is_discarded_is_counted(case: Case) -> None:
    case.receive(Message())
    case.now += unknown.PATIENCE
    case.receive(Message())
    assert case.consumer.discarded
    assert case.aside.told() == [{"queue": "", "task": "naps.new", "messages": 1, "since": case.now}]


class Round:
    """Looks of a worker that reads one queue."""

    def __init__(self, case: Case) -> None:
        self.case = case
        case.consumer.connection = SimpleNamespace(transport=SimpleNamespace(driver_type="amqp"))
        queue = SimpleNamespace(name="q", auto_delete=False, exclusive=False)
        case.consumer.task_consumer = SimpleNamespace(queues=[queue])
        looks: Any = unknown.Looks
        self.looks = looks(case.consumer, case.lot, case.unknown, case.aside, case.poison)
        self.looks.start()

    def pauses(self, count: int) -> list[float]:
        """Before so many looks."""
        return [self.case.wait() for _ in range(count)]


def test_it_looks_at_once_and_then_every_now_and_then(case: Case) -> None:
    assert Round(case).pauses(4) == [0.0, 2.0, 2.0, 2.0]


def test_looks_in_vain_become_rare_and_are_as_often_as_before_when_nothing_is_left(case: Case) -> None:
    round = Round(case)
    case.lot.holds = 1
    assert round.pauses(7) == [0.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    case.lot.holds = 0
    assert round.pauses(3)[1:] == [2.0, 2.0]


def test_while_a_look_finds_something_the_next_one_follows(case: Case) -> None:
    round = Round(case)
    case.lot.holds = case.lot.finds = 1
    assert round.pauses(3) == [0.0, 0.1, 0.1]


def test_an_order_about_a_poisoned_task_does_not_wait_for_the_next_look(case: Case) -> None:
    round = Round(case)
    case.lot.holds = 1
    assert round.pauses(3) == [0.0, 4.0, 8.0]
    case.consumer.each()
    assert [seconds for seconds, _ in case.consumer.later] == [16.0]
    case.poison.parked("id-1", "naps.kill", "q.trapd-parked")
    case.poison.order("id-1", "retry")
    for _ in range(2):
        case.consumer.each()
        assert [seconds for seconds, _ in case.consumer.later] == [0.0]  # and no look beside that


def test_a_broker_that_does_not_answer_is_told_once_and_asked_rarely(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    round = Round(case)
    case.lot.broken = True
    with caplog.at_level("WARNING", logger="trapd.worker"):
        assert round.pauses(3) == [0.0, 30.0, 30.0]
    assert caplog.text.count("cannot look into the parking queue") == 1
    case.lot.broken = False
    assert round.pauses(2) == [30.0, 2.0]


@pytest.mark.parametrize("private", ["auto_delete", "exclusive"])
def test_a_queue_of_one_reader_alone_has_no_parking_queue(case: Case, private: str) -> None:
    Round(case)
    [queue] = case.consumer.task_consumer.queues
    assert unknown.parked_queues(case.consumer) == [queue]
    setattr(queue, private, True)
    assert unknown.parked_queues(case.consumer) == []
