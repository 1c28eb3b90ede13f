"""What a worker tells its supervisor, phase by phase, in virtual time."""

from __future__ import annotations

import itertools
import math

import pytest

from trapd.backend.embedded.deadlines import SECOND_LOOK
from trapd.worker.health import DRAIN_BY, QUIET_DRAIN, STATUS_EVERY, Health, Phase
from trapd.worker.standing import BROKER, RESULTS, Standing

WATCHDOG = 60.0
IN_POOL = Standing("asynpool.py:299", "", in_pool=True)


class Case:
    """A worker whose time and tasks the test sets."""

    def __init__(self, watchdog: float = WATCHDOG) -> None:
        self.now, self.active, self.reserved = 100.0, 0, 0
        self.heard: list[tuple[float, dict[str, str]]] = []
        self.standing = Standing("hang.py:7", "")
        self.health = Health(lambda: (self.active, self.reserved), watchdog, self.now)
        self.health.pool_is_known = True

    def enter(self, *phases: Phase) -> None:
        for phase in phases:
            self.health.enter(phase, self.now)

    def tick(self, heard: bool = True) -> dict[str, str]:
        fields = self.health.message(self.now, lambda: self.standing)
        if heard:
            self.health.sent(fields, self.now)
            if fields:
                self.heard.append((self.now, fields))
        return fields

    def run(self, seconds: float, turning: bool = True) -> list[tuple[float, dict[str, str]]]:
        """Let so much time pass, a look each second; the messages of that time."""
        self.heard.clear()
        for _ in range(math.ceil(seconds)):
            self.now += 1
            if turning:
                self.health.stamped = self.now
            self.tick()
        return list(self.heard)

    def ready(self) -> Case:
        self.enter(Phase.CONNECTING, Phase.READY)
        self.tick()
        return self


def times(messages: list[tuple[float, dict[str, str]]], key: str) -> list[float]:
    return [at for at, fields in messages if key in fields]


def test_a_connection_lost_before_ready_does_not_swallow_ready() -> None:
    """Celery says ready once its loop turns; the connection may break between that and its first consumers."""
    case = Case()
    case.enter(Phase.CONNECTING)
    case.run(3)
    assert not case.health.was_ready
    case.enter(Phase.CONNECTING)  # the consumer stops, and starts again
    case.enter(Phase.READY)
    assert case.tick()["READY"] == "1"
    case.enter(Phase.RECONNECTING, Phase.READY)
    assert "READY" not in case.tick()


def test_ready_is_said_once_together_with_a_sign_of_life() -> None:
    case = Case()
    case.enter(Phase.CONNECTING, Phase.READY)
    assert case.tick() == {"READY": "1", "WATCHDOG": "1", "STATUS": "ready, 0 active"}
    assert not times(case.run(300), "READY")


def test_ready_is_said_again_until_it_is_heard() -> None:
    case = Case()
    case.enter(Phase.CONNECTING, Phase.READY)
    assert "READY" in case.tick(heard=False)
    assert "READY" in case.tick(heard=True)
    assert "READY" not in case.tick()


def test_an_idle_worker_says_one_word_in_a_third_of_the_watchdogs_time() -> None:
    case = Case().ready()
    case.run(300)
    assert [fields for _, fields in case.run(60)] == [{"WATCHDOG": "1"}] * 3


def test_a_young_worker_gives_a_sign_of_life_soon_after_any_min_ready() -> None:
    """Of whose length it knows nothing: within a second and a ninth of it."""
    signs = [at - 100.0 for at in times(Case().ready().run(300), "WATCHDOG")]
    for min_ready in range(1, 200):
        assert min(at for at in signs if at >= min_ready) - min_ready <= 1.0 + min_ready / 9
    assert len(signs) < 50


def test_a_loop_that_blocks_right_after_ready_gives_no_sign_of_life_any_more() -> None:
    case = Case().ready()
    case.run(2)
    assert times(case.run(120, turning=False), "WATCHDOG") == []


def test_a_process_that_stood_still_does_not_take_that_for_a_loop_that_did() -> None:
    case = Case().ready()
    case.run(300)
    case.now += 50.0
    fields = case.tick()
    assert fields == {"WATCHDOG": "1"}
    messages = case.run(60, turning=False)  # but only once
    assert "main loop stalled" in messages[-1][1]["STATUS"]
    case.now += 50.0
    assert "WATCHDOG" not in case.tick()


def test_without_a_watchdog_an_idle_worker_says_as_little() -> None:
    case = Case(watchdog=0).ready()
    case.run(300)
    assert len(case.run(60)) == 3


def test_running_tasks_are_told_at_the_next_look_and_only_while_their_number_changes() -> None:
    case = Case().ready()
    case.run(15)
    case.active, case.reserved = 2, 3
    assert [fields["STATUS"] for _, fields in case.run(1)] == ["ready, 2 active, 1 reserved"]
    said = []
    for count in range(40):
        case.active = case.reserved = count
        said += times(case.run(1), "STATUS")
    assert len(said) == 40
    assert times(case.run(100), "STATUS") == []


def test_tasks_in_reserve_are_told_when_they_change_but_not_more_often_than_every_10_seconds() -> None:
    case = Case().ready()
    case.run(15)
    said = []
    for count in range(40):
        case.reserved = count
        said += times(case.run(1), "STATUS")
    assert len(said) <= 5
    assert min(later - earlier for earlier, later in itertools.pairwise(said)) >= 10


def test_a_loop_that_stands_still_gets_no_sign_of_life_and_is_located() -> None:
    case = Case().ready()
    messages = case.run(90, turning=False)
    assert not times(messages, "WATCHDOG")
    told = [fields["STATUS"] for _, fields in messages if "STATUS" in fields]
    assert told[0].startswith("main loop stalled for 3")
    assert told[0].endswith(" s at hang.py:7, 0 active")


def test_a_stall_and_a_stray_are_told_at_once_however_fresh_the_last_status_is() -> None:
    case = Case(watchdog=6.0).ready()
    case.run(2)
    case.health.strays = 2
    assert case.run(1)[0][1]["STATUS"] == "ready, 0 active, 2 stray modules"
    assert case.run(3, turning=False)[-1][1]["STATUS"] == "main loop stalled for 3 s at hang.py:7, 0 active"


def test_a_loop_that_turns_again_is_well_again() -> None:
    case = Case().ready()
    case.run(40, turning=False)
    assert [fields["STATUS"] for _, fields in case.run(11) if "STATUS" in fields][-1] == "ready, 0 active"
    assert times(case.run(25), "WATCHDOG")


@pytest.mark.parametrize(("active", "alive"), [(1, True), (0, False)])
def test_a_solo_pool_stands_still_rightly_only_while_a_task_runs(active: int, alive: bool) -> None:
    case = Case().ready()
    case.health.inline, case.active = True, active
    case.run(60, turning=False)
    assert bool(times(case.run(30, turning=False), "WATCHDOG")) is alive


def test_a_lost_broker_is_no_hang_and_is_told_at_once() -> None:
    case = Case().ready()
    case.run(3)
    case.enter(Phase.RECONNECTING)
    case.active = 1
    assert case.tick()["STATUS"] == "reconnecting, 1 active"
    messages = case.run(120, turning=False)
    assert len(times(messages, "WATCHDOG")) == 6
    assert messages[-1][1]["STATUS"] == "broker unreachable for 120 s, 1 active"
    case.enter(Phase.READY)
    assert case.tick()["STATUS"] == "ready, 1 active"
    assert "READY" not in case.tick()


def test_a_broker_that_is_away_at_the_start_prolongs_the_start() -> None:
    case = Case()
    case.enter(Phase.CONNECTING)
    assert "EXTEND_TIMEOUT_USEC" not in case.tick()
    messages = case.run(60)
    assert times(messages, "EXTEND_TIMEOUT_USEC") == [101.0, 111.0, 121.0, 131.0, 141.0, 151.0]
    assert {fields["EXTEND_TIMEOUT_USEC"] for _, fields in messages} == {"30000000"}
    assert not times(messages, "WATCHDOG")
    assert messages[-1][1]["STATUS"] == "broker unreachable for 51 s, 0 active"


def test_an_import_that_hangs_is_not_prolonged() -> None:
    case = Case()
    case.tick()
    assert not times(case.run(600), "EXTEND_TIMEOUT_USEC")


@pytest.mark.parametrize("whom", [BROKER, RESULTS])
def test_a_loop_that_waits_for_the_broker_or_the_results_lives_however_long_that_takes(whom: str) -> None:
    """With packets dropped, Celery's loop stands in a timer's socket, in phase READY."""
    case = Case().ready()
    case.active = 1
    case.run(20)
    case.standing = Standing("socket.py:64", whom)
    messages = case.run(3600, turning=False)
    alive = times(messages, "WATCHDOG")
    assert max(later - earlier for earlier, later in itertools.pairwise(alive)) == WATCHDOG / 3
    assert messages[0][1]["STATUS"] == f"{whom} unreachable for 5 s, 1 active"
    assert messages[-1][1]["STATUS"].startswith(f"{whom} unreachable for 3")
    assert [fields["STATUS"] for _, fields in case.run(10) if "STATUS" in fields] == ["ready, 1 active"]


def test_a_wait_that_shows_only_now_and_then_is_a_wait_and_a_hang_after_it_is_a_hang() -> None:
    case = Case().ready()
    for number in range(40):
        case.standing = Standing("socket.py:64", BROKER if number % 3 == 0 else "")
        case.run(2, turning=False)
        assert number < 3 or "broker unreachable" in case.health._said
    case.standing = Standing("hang.py:7", "")
    told = [fields["STATUS"] for _, fields in case.run(40, turning=False) if "STATUS" in fields]
    assert any(text.startswith("main loop stalled for 30 s at hang.py:7") for text in told)
    assert not times(case.run(100, turning=False), "WATCHDOG")


def test_a_start_that_has_its_connection_gets_no_time_and_says_where_it_stands() -> None:
    """A handler of worker_ready that hangs, say: the broker has nothing to do with it."""
    case = Case()
    case.enter(Phase.CONNECTING)
    messages = case.run(30)
    assert len(times(messages, "EXTEND_TIMEOUT_USEC")) == 3
    case.health.connected = lambda: True
    messages = case.run(60)
    assert times(messages, "EXTEND_TIMEOUT_USEC") in ([], [131.0])
    assert messages[-1][1]["STATUS"].startswith("starting for ")
    assert messages[-1][1]["STATUS"].endswith(" s, at hang.py:7")


def test_a_start_that_waits_for_the_broker_on_its_connection_gets_time() -> None:
    case = Case()
    case.health.connected, case.standing = lambda: True, Standing("socket.py:64", BROKER)
    case.enter(Phase.CONNECTING)
    assert len(times(case.run(60), "EXTEND_TIMEOUT_USEC")) == 6


def test_a_reconnection_that_hangs_elsewhere_is_a_hang() -> None:
    case = Case().ready()
    case.health.connected = lambda: True
    case.enter(Phase.RECONNECTING)
    messages = case.run(90)
    assert not times(messages, "WATCHDOG")
    assert messages[-1][1]["STATUS"].startswith("main loop stalled for ")


def test_a_drain_is_told_at_once_and_gets_time_as_long_as_a_task_runs() -> None:
    case = Case().ready()
    case.active, case.standing = 1, IN_POOL
    case.run(3)
    case.enter(Phase.DRAINING)
    assert case.tick() == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "55000000", "STATUS": "draining, 1 active"}
    messages = case.run(3600, turning=False)
    extended = times(messages, "EXTEND_TIMEOUT_USEC")
    assert max(later - earlier for earlier, later in itertools.pairwise(extended)) == 10.0
    assert not times(messages, "WATCHDOG")
    assert not times(messages, "STOPPING")


def test_a_drain_without_tasks_gets_no_time_for_ever() -> None:
    case = Case().ready()
    case.enter(Phase.DRAINING)
    case.tick()
    messages = case.run(600)
    assert not times(messages, "EXTEND_TIMEOUT_USEC")
    assert min(at for at, fields in messages if "not leaving" in fields["STATUS"]) <= 100.0 + QUIET_DRAIN + STATUS_EVERY
    assert "not leaving" in messages[-1][1]["STATUS"]


def test_a_drain_whose_tasks_have_ended_unread_gets_no_time_for_ever() -> None:
    """Its main thread hangs, and so goes on counting them."""
    case = Case().ready()
    case.active, case.standing = 2, IN_POOL
    case.enter(Phase.DRAINING)
    case.health.unread = lambda: 1
    assert times(case.run(60), "EXTEND_TIMEOUT_USEC"), "one of them runs"
    case.health.unread = lambda: 2
    messages = case.run(60)
    assert not times(messages, "EXTEND_TIMEOUT_USEC")
    assert "2 active, but not leaving for " in messages[-1][1]["STATUS"]


@pytest.mark.parametrize("after", [0, 1, 9, 10, 11, 25, 300])
def test_a_main_thread_that_hangs_in_a_drain_gets_no_time_though_its_tasks_run(after: int) -> None:
    """Noticed within 60 s of the hang, with the 2 s of the supervisor's second look."""
    case = Case().ready()
    case.active, case.standing = 1, IN_POOL
    case.enter(Phase.DRAINING)
    case.tick()
    extended = times(case.run(after, turning=False), "EXTEND_TIMEOUT_USEC")
    hangs, case.standing = case.now, Standing("hang.py:7", "")
    messages = case.run(90, turning=False)
    last = max([100.0, *extended, *times(messages, "EXTEND_TIMEOUT_USEC")])
    assert last + DRAIN_BY + SECOND_LOOK - hangs < 60.0
    told = next((at, fields["STATUS"]) for at, fields in messages if "not leaving" in fields.get("STATUS", ""))
    assert told == (hangs + 5.0, "draining, 1 active, but not leaving: main loop stalled for 5 s at hang.py:7")
    assert case.health.quiet(case.now) == 90.0


def test_a_drain_whose_main_thread_goes_on_after_a_while_gets_time_again() -> None:
    case = Case().ready()
    case.active, case.standing = 1, IN_POOL
    case.enter(Phase.DRAINING)
    case.run(20, turning=False)
    case.standing = Standing("hang.py:7", "")
    assert not times(case.run(40, turning=False)[3:], "EXTEND_TIMEOUT_USEC")
    case.standing = IN_POOL
    assert len(times(case.run(40, turning=False), "EXTEND_TIMEOUT_USEC")) == 4
    assert case.heard[0][1]["STATUS"] == "draining, 1 active"


@pytest.mark.parametrize("standing", [Standing("socket.py:64", BROKER), Standing("socket.py:64", RESULTS)])
def test_a_drain_that_waits_for_the_broker_or_the_results_is_no_hang(standing: Standing) -> None:
    case = Case().ready()
    case.active, case.standing = 1, standing
    case.enter(Phase.DRAINING)
    assert len(times(case.run(300, turning=False), "EXTEND_TIMEOUT_USEC")) == 30


@pytest.mark.parametrize("kind", ["solo", "not one of Celery's"])
def test_a_drain_of_a_pool_whose_wait_cannot_be_told_from_a_hang_is_none(kind: str) -> None:
    case = Case().ready()
    case.active, case.health.inline, case.health.pool_is_known = 1, kind == "solo", kind == "solo"
    case.enter(Phase.DRAINING)
    assert len(times(case.run(300, turning=False), "EXTEND_TIMEOUT_USEC")) == 30


def test_a_drain_is_never_left_again() -> None:
    case = Case().ready()
    case.enter(Phase.DRAINING, Phase.RECONNECTING, Phase.READY)
    assert case.tick()["STATUS"] == "draining, 0 active"


def test_a_drain_names_processes_of_its_pool_that_stand_stopped() -> None:
    case = Case().ready()
    case.active, case.standing = 1, IN_POOL
    case.enter(Phase.DRAINING)
    assert case.tick()["STATUS"] == "draining, 1 active"
    case.health.stopped = "1 of 2 processes of its pool is stopped by a debugger"
    told = [fields["STATUS"] for _, fields in case.run(30) if "STATUS" in fields]
    assert told == ["draining, 1 active, but not leaving: 1 of 2 processes of its pool is stopped by a debugger"]
    case.active = 0
    words = "draining, 0 active, but not leaving for 30 s: 1 of 2 processes of its pool is stopped by a debugger"
    assert words in [fields.get("STATUS") for _, fields in case.run(40)]
