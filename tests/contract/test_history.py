"""What every history promises (J1 to J9 of trapd/contracts.py), and what only a history in a file can be asked."""

from __future__ import annotations

import copy
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_history import FakeHistory
from tests.support.repetitions import times
from trapd.content import Content
from trapd.contracts import History
from trapd.errors import HistoryError, TrapdError
from trapd.event import Event, EventKind
from trapd.history import SqliteHistory
from trapd.migrations import SCHEMA
from trapd.model import (
    Apart,
    Generation,
    Pin,
    PoolState,
    Refusal,
    Rollout,
    RolloutState,
    Scope,
    TaskChanges,
    WorkerOrder,
)

Reopen = Callable[[], History]


def generation(number: int, **more: object) -> Generation:
    values = {"fingerprint": "f1", "versions": {"trap": "1.4.0"}, "launch": {"default": "d1"}, "reason": "upgrade"}
    table = {"numpy": Content("2.0.1", "n2", "c" * 40), "the celeryconfig": Content("", "d")}
    tables = {"distributions": table, "required": ("numpy",), "loaded": {"numpy": Content("1.26", "")}, "heard": True}
    tasks = {"tasks": {"trap.find": "d1", "trap.odd": ""}}
    return Generation(number=number, **values | tables | tasks | {"actor": "root", "wall": 5.5} | more)  # type: ignore[arg-type]


def rollout(id: int, pool: str = "default", state: RolloutState = RolloutState.CANARY) -> Rollout:
    tasks = TaskChanges(("trap.gone",), ("trap.find",))
    return Rollout(id, pool, 7, None, state, "upgrade", "trapd", started_wall=1.0, progressed_at=2.0, tasks=tasks)


def event(reason: str, **more: object) -> Event:
    return Event(**{"wall": 1.0, "kind": EventKind.STARTED, "reason": reason} | more)  # type: ignore[arg-type]


def unnumbered(events: Iterable[Event]) -> list[Event]:
    return [replace(event, id=0) for event in events]


@pytest.fixture(params=["sqlite", "fake"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Opens the history, and opens it again as the next trapd would after a crash: the last one is not closed."""
    fake, opened = FakeHistory(), []

    def open_again() -> History:
        if request.param == "fake":
            return fake
        opened.append(SqliteHistory(tmp_path / "history.sqlite"))
        return opened[-1]

    yield open_again
    for history in opened:
        history.close()


def test_j1_numbers_are_given_once_over_any_crash(reopen: Reopen) -> None:
    numbers = [(history.next_generation(), history.next_rollout()) for history in (reopen(), reopen(), reopen())]
    assert numbers == [(1, 1), (2, 2), (3, 3)]


def test_j1_the_number_of_a_dropped_generation_is_not_given_again(reopen: Reopen) -> None:
    history = reopen()
    number = history.next_generation()
    history.save(generations=[generation(number)])
    history.drop_generations([number])
    assert history.generations() == {}
    assert reopen().next_generation() == number + 1


def test_j2_everything_saved_is_read_back_equal(reopen: Reopen) -> None:
    made = generation(7, versions={"trap": "1.4.0", "naïve": "2"}, eager=True)
    state = PoolState(
        "gpu",
        wanted=7,
        good=(3, 5),
        refused=(
            Refusal(Scope.CODE, "f9", "", "Traceback: \udc80\0\n«x»"),
            Refusal(Scope.SETTINGS, "f8", "0123456789abcdef", "it hung"),
        ),
        paused=True,
        workers=0,
        rollout=replace(rollout(4, "gpu"), previous=5, detail="Traceback", ended_wall=9.0),
        pins=(Pin("a1", "alice (uid 1001)", "trap-run 'a b'", 5, 1.0, 2.0, 3.0, 4.0, away_since=2.5),),
        undone=6,
        scaled_by="bob",
        scaled_wall=8.0,
        relieved_at=3.5,
        rounds=2,
        drained=(WorkerOrder("gpu@7-1", "bob", 1.0, 2.0, "its disk"),),
        recycled=(WorkerOrder("gpu@7-2", "bob", 1.5, 2.5),),
        apart=Apart(7, 8),
    )
    left = [field.name for field in fields(PoolState) if getattr(state, field.name) == field.default]
    assert not left, "every field has to be read back"
    said = event(
        "no",
        kind=EventKind.CRASHED,
        pool="gpu",
        rollout=4,
        generation=7,
        instance="gpu@7-1",
        detail="\udcff\0",
        actor="root",
        duration=2.5,
    )
    reopen().save(pools=[state, PoolState("default")], generations=[made, generation(3)], events=[said])
    history = reopen()
    assert history.pools() == {"default": PoolState("default"), "gpu": state}
    assert list(history.generations().items()) == [(3, generation(3)), (7, made)]
    assert history.rollouts() == [state.rollout]
    (read,) = history.events()
    assert replace(read, id=0) == said
    assert isinstance(read.kind, EventKind)
    assert isinstance(history.pools()["gpu"].rollout.state, RolloutState)  # type: ignore[union-attr]


def test_j2_a_save_that_fails_half_way_saves_nothing(reopen: Reopen) -> None:
    def breaks() -> Iterator[Event]:
        yield event("first")
        raise RuntimeError("in the middle")

    history = reopen()
    history.save(pools=[PoolState("default", wanted=1)], generations=[generation(1)], events=[event("before")])
    with pytest.raises(RuntimeError):
        history.save(
            pools=[PoolState("default", wanted=2, rollout=rollout(1))], generations=[generation(2)], events=breaks()
        )
    for after in (history, reopen()):
        assert after.pools() == {"default": PoolState("default", wanted=1)}
        assert set(after.generations()) == {1}
        assert after.rollouts() == []
        assert unnumbered(after.events()) == [event("before")]


def test_j2_a_later_save_replaces_an_earlier_one(reopen: Reopen) -> None:
    history = reopen()
    history.save(pools=[PoolState("default", wanted=1, rollout=rollout(1))], generations=[generation(1)])
    history.save(pools=[PoolState("default", wanted=2)], generations=[generation(1, reason="undo")])
    assert reopen().pools() == {"default": PoolState("default", wanted=2)}
    assert reopen().generations() == {1: generation(1, reason="undo")}
    assert reopen().rollouts() == [rollout(1)]  # a rollout that is no pool's latest any more stays on record


def test_j3_events_stay_in_the_order_they_were_saved(reopen: Reopen) -> None:
    history = reopen()
    for n in range(5):  # the clock on the wall may be set back; order is not by time
        history.save(events=[replace(event(f"{n}{half}"), wall=-float(n)) for half in "ab"])
    assert [seen.reason for seen in reopen().events()] == [f"{n}{half}" for n in range(5) for half in "ab"]


def test_j3_events_are_the_latest_that_fit_every_filter(reopen: Reopen) -> None:
    history = reopen()
    places = [("a", 1, 1), ("a", 1, 2), ("a", 2, 2), ("b", 3, 2), (None, None, None)] * 3
    history.save(
        events=[event(str(n), pool=pool, rollout=id, generation=gen) for n, (pool, id, gen) in enumerate(places)]
    )

    def found(limit: int = 100, **wanted: object) -> list[str]:
        return [seen.reason for seen in history.events(limit=limit, **wanted)]  # type: ignore[arg-type]

    assert found(limit=2) == ["13", "14"]
    assert found(limit=4, pool="a") == ["7", "10", "11", "12"]
    assert found(rollout=1) == ["0", "1", "5", "6", "10", "11"]
    assert found(pool="a", generation=2) == ["1", "2", "6", "7", "11", "12"]
    assert found(pool="b", rollout=1) == []
    assert found(limit=0) == found(limit=-1) == []


def test_j4_saving_a_pool_updates_its_rollouts_record(reopen: Reopen) -> None:
    history = reopen()
    history.save(pools=[PoolState("default", rollout=rollout(1))])
    done = replace(rollout(1, state=RolloutState.COMPLETE), ended_wall=9.0)
    history.save(pools=[PoolState("default", rollout=done)])
    assert reopen().rollout(1) == done
    assert reopen().pools()["default"].rollout == done
    assert reopen().rollout(2) is None


def test_j4_rollouts_are_listed_newest_first(reopen: Reopen) -> None:
    history = reopen()
    for id, pool in enumerate(["a", "b", "a", "a", "b"], 1):
        history.save(pools=[PoolState(pool, rollout=rollout(id, pool))])
    assert [one.id for one in history.rollouts()] == [5, 4, 3, 2, 1]
    assert [one.id for one in history.rollouts("a")] == [4, 3, 1]
    assert [one.id for one in history.rollouts("a", limit=2)] == [4, 3]
    assert history.rollouts("c") == history.rollouts(limit=0) == []


def test_j5_each_event_gets_an_id_that_only_grows_over_any_crash(reopen: Reopen) -> None:
    first = reopen().save(events=[event("a"), event("b", id=99)])
    history = reopen()
    assert history.save() == []
    second = history.save(events=[event("c")])
    saved = [*first, *second]
    assert [one.id for one in saved] == sorted({one.id for one in saved})
    assert first[0].id > 0
    assert reopen().events() == saved


def test_j5_a_save_that_fails_leaves_ids_that_grow(reopen: Reopen) -> None:
    def breaks() -> Iterator[Event]:
        yield event("lost")
        raise RuntimeError("in the middle")

    history = reopen()
    (before,) = history.save(events=[event("before")])
    with pytest.raises(RuntimeError):
        history.save(events=breaks())
    (after,) = history.save(events=[event("after")])
    assert after.id > before.id
    assert history.events() == [before, after]


def worker(name: str, kind: EventKind) -> Event:
    return event(f"{name} {kind}", kind=kind, pool="p", instance=name)


def test_j6_unfinished_tells_the_last_of_each_worker_that_is_not_over(reopen: Reopen) -> None:
    history = reopen()
    kinds = EventKind
    history.save(events=[worker("p@1-1", kinds.STARTED), worker("p@1-2", kinds.STARTED), event("scaled", pool="p")])
    history.save(events=[worker("p@1-1", kinds.READY), worker("p@1-1", kinds.CRASHED), worker("p@1-1", kinds.HUNG)])
    history.save(events=[worker("p@1-1", kinds.STARTED), worker("p@1-2", kinds.READY), worker("p@1-2", kinds.DRAINING)])
    history.save(events=[worker("p@1-2", kinds.ERROR), worker("p@1-2", kinds.ERROR)])  # it could not be drained
    history.save(events=[worker("p@1-7", kinds.STARTED), worker("p@1-7", kinds.ERROR)])  # nor this one started
    for name, end in (("p@1-3", kinds.GONE), ("p@1-4", kinds.LOST), ("p@1-5", kinds.FORGOT)):
        history.save(events=[worker(name, kinds.STARTED), worker(name, kinds.CRASHED), worker(name, end)])
    history.save(events=[worker("p@1-6", kinds.OOM_KILLED)])
    for name in ("p@1-3", "p@1-2", "p@1-2"):  # what a worker reports is no state
        history.save(events=[worker(name, kinds.REMOTE), worker(name, kinds.CHILD_LOST)])
    told = ["p@1-1 hung", "p@1-1 started", "p@1-2 ready", "p@1-6 oom-killed"]
    told += ["p@1-2 remote-control", "p@1-2 child-lost"]
    assert [one.reason for one in reopen().unfinished()] == told


def test_j7_failures_counts_from_when_the_worker_was_last_over(reopen: Reopen) -> None:
    history, kinds = reopen(), EventKind
    assert history.failures("p@1-1") == (0, None)
    for kind in (kinds.STARTED, kinds.CRASHED, kinds.GONE, kinds.STARTED, kinds.FAILED, kinds.READY, kinds.HUNG):
        history.save(events=[worker("p@1-1", kind), worker("p@1-2", kinds.CRASHED)])
    count, last = reopen().failures("p@1-1")
    assert (count, last and last.kind) == (2, kinds.HUNG)
    history.save(events=[worker("p@1-1", kinds.FORGOT)])
    assert history.failures("p@1-1") == (0, None)


def test_events_since_an_id_are_the_first_after_it_oldest_first(reopen: Reopen) -> None:
    history = reopen()
    saved = history.save(events=[event(str(n), pool="ab"[n % 2]) for n in range(6)])
    assert list(history.events(since=saved[1].id, limit=2)) == list(saved[2:4])
    assert list(history.events(since=0)) == list(saved)
    assert list(history.events(pool="a", since=saved[1].id)) == [saved[2], saved[4]]
    assert list(reopen().events(since=saved[-1].id)) == []


def test_j8_a_note_is_the_text_that_was_saved_last_with_events_or_without(reopen: Reopen) -> None:
    history = reopen()
    assert history.note("cursor") == ""
    history.save(notes={"cursor": "1", "other": "x"})
    history.save(events=[event("told")], notes={"cursor": "2"})
    assert (reopen().note("cursor"), reopen().note("other")) == ("2", "x")


def test_j9_what_is_put_off_has_its_ids_at_once_and_is_written_first(reopen: Reopen) -> None:
    history = reopen()
    (first,) = history.save(events=[event("a", pool="p")])
    history.put_off([event("b", pool="p"), event("c")])
    history.put_off([event("d", pool="p")])
    told = list(history.events())
    assert [(each.id - first.id, each.reason) for each in told] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert list(history.events(limit=2)) == told[2:]
    assert list(history.events(since=first.id, limit=2)) == told[1:3]
    assert list(history.events(since=told[2].id)) == told[3:]
    assert [each.reason for each in history.events(pool="p")] == ["a", "b", "d"]
    (after,) = history.save(events=[event("e")])
    assert list(history.events()) == list(reopen().events()) == [*told, after]


def test_j9_what_is_put_off_waits_while_saves_fail(reopen: Reopen) -> None:
    def breaks() -> Iterator[Event]:
        yield event("lost")
        raise RuntimeError("in the middle")

    history = reopen()
    history.put_off([event("a")])
    with pytest.raises(RuntimeError):
        history.save(events=breaks())
    assert [(each.id, each.reason) for each in history.events()] == [(1, "a")]
    history.save()
    assert [(each.id, each.reason) for each in reopen().events()] == [(1, "a")]


def test_dropping_a_generation_keeps_its_events_and_an_absent_one_does_not_matter(reopen: Reopen) -> None:
    history = reopen()
    history.save(generations=[generation(1), generation(2)], events=[event("started", generation=1)])
    history.drop_generations([1, 99])
    assert set(reopen().generations()) == {2}
    assert [seen.reason for seen in history.events(generation=1)] == ["started"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pool"), st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(RolloutState)),
        st.tuples(st.just("generation"), st.integers(0, 3), st.text(max_size=3)),
        st.tuples(st.just("drop"), st.integers(0, 3)),
        st.tuples(st.just("event"), st.sampled_from(["a", "b", None]), st.text(max_size=3)),
        st.tuples(st.just("worker"), st.sampled_from(["p@1-1", "p@1-2"]), st.sampled_from(EventKind)),
        st.tuples(st.just("put off"), st.sampled_from(["a", "b", None]), st.text(max_size=3)),
        st.tuples(st.just("number")),
    ),
    max_size=12,
)


@given(STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_fake_and_the_real_one_cannot_be_told_apart(tmp_path: Path, steps: list[tuple[object, ...]]) -> None:
    for left in tmp_path.iterdir():  # one folder serves all examples
        left.unlink()
    real, fake = SqliteHistory(tmp_path / "history.sqlite"), FakeHistory()
    seen = []
    for history in (real, fake):
        numbers = [play(history, step) for step in steps]
        generations = list(history.generations().items())
        told = history.events(), history.events(instance="p@1-1"), history.unfinished(), history.failures("p@1-1")
        seen.append((numbers, history.pools(), generations, history.rollouts(), told))
    real.close()
    assert seen[0] == seen[1]


def play(history: History, step: tuple[object, ...]) -> object:
    match step:
        case "pool", str(pool), int(id), RolloutState() as state:
            # An id belongs to one pool for ever: that is what next_rollout is for.
            latest = rollout(2 * id + (pool == "b"), pool, state) if id else None
            history.save(pools=[PoolState(pool, wanted=id, rollout=latest)])
        case "generation", int(number), str(reason):
            history.save(generations=[generation(number, reason=reason)])
        case "drop", int(number):
            history.drop_generations([number])
        case "event", pool, str(what):
            return history.save(events=[event(what, pool=pool)])
        case "put off", pool, str(what):
            history.put_off([event(what, pool=pool)])
        case "worker", str(name), EventKind() as kind:
            return history.save(events=[worker(name, kind)])
        case _:
            return history.next_generation(), history.next_rollout()
    return None


def test_a_copy_of_the_fake_is_independent() -> None:
    history = FakeHistory()
    history.save(pools=[PoolState("default", wanted=1)], events=[event("before")])
    other = copy.deepcopy(history)
    history.save(pools=[PoolState("default", wanted=2)], events=[event("after")])
    assert other.pools() == {"default": PoolState("default", wanted=1)}
    assert unnumbered(other.events()) == [event("before")]


# --- only in a file -------------------------------------------------------------------------------------------------

WRITER = """
import os, sys
from pathlib import Path
from trapd.history import SqliteHistory
from trapd.event import Event, EventKind
from trapd.model import Generation, PoolState, Rollout, RolloutState

def say(word, number=0):
    os.write(1, f"{word} {number}\\n".encode())

say("opening")
history = SqliteHistory(Path(sys.argv[1]))
while True:
    number = history.next_generation()
    say("took", number)
    rollout = Rollout(history.next_rollout(), "p", number, None, RolloutState.ROLLING, "r", "a", 1.0, 2.0)
    history.save(
        pools=[PoolState("p", wanted=number, rollout=rollout), PoolState("q", wanted=number)],
        generations=[Generation(number, "f" * 64, {}, {}, "r", "a", 1.0)],
        events=[Event(1.0, EventKind.READY, part, detail="w" * 500, generation=number) for part in "xyz"],
    )
    say("saved", number)
    history.drop_generations([number - 3])
"""


def run_until_killed(file: Path, lines: int, delay: float) -> tuple[int, int]:
    """Runs WRITER, kills it some time after it said so many lines; the last numbers it said it took and saved."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(delay)
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    numbers = {word: int(number) for word, number in (line.split() for line in said)}
    return numbers.get("took", 0), numbers.get("saved", 0)


def check_after_kill(history: SqliteHistory, taken: int, saved: int) -> None:
    parts = [(seen.generation, seen.reason) for seen in history.events(limit=1_000_000)]
    numbers = [number for number, what in parts if what == "x"]
    assert parts == [(number, what) for number in numbers for what in "xyz"]  # whole saves, in order
    last = numbers[-1] if numbers else None
    assert (last or 0) >= saved  # acknowledged is there
    assert [state.wanted for state in history.pools().values()] == [last] * (2 if last else 0)
    if last:
        latest = history.rollouts()[0]
        assert latest.generation == last
        assert history.pools()["p"].rollout == latest
        kept = set(history.generations())
        assert {number for number in numbers if number and number > last - 3} <= kept <= set(numbers)
    assert history.next_generation() > max(taken, last or 0)


KILLS = times(20, 300)


@pytest.mark.long
@pytest.mark.timeout(3 * KILLS)
def test_a_writer_killed_at_any_instant_leaves_every_whole_save_and_no_half_one(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """J1, J2, J3, J4 over SIGKILL, again and again on the same file."""
    record_property("times", KILLS)
    chance, file, saves = random.Random(), tmp_path / "history.sqlite", 0
    for _ in range(KILLS):
        taken, saved = run_until_killed(file, chance.randint(1, 30), chance.uniform(0.0001, 0.005))
        history = SqliteHistory(file)
        check_after_kill(history, taken, saved)
        saves = max(saves, saved)
        history.close()
    assert saves > 20  # it did write between the kills


def test_a_writer_killed_while_it_makes_the_file_leaves_one_that_opens(tmp_path: Path) -> None:
    chance = random.Random()
    for n in range(5):
        file = tmp_path / f"{n}.sqlite"
        taken, saved = run_until_killed(file, 1, chance.uniform(0.0001, 0.02))
        history = SqliteHistory(file)
        check_after_kill(history, taken, saved)
        history.close()


def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """J2 over a power cut, as far as it can be seen from here: 2 is FULL."""
    history = SqliteHistory(tmp_path / "history.sqlite")
    assert history._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert history._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    history.close()


def test_few_pages_are_kept_in_memory(tmp_path: Path) -> None:
    """SQLite's 2 MiB fill slowly: over many upgrades trapd looked like one that leaks. A negative number counts KiB."""
    history = SqliteHistory(tmp_path / "history.sqlite")
    assert -512 <= history._database.execute("PRAGMA cache_size").fetchone()[0] < 0
    history.close()


def test_the_oldest_events_are_forgotten_when_there_are_too_many(tmp_path: Path) -> None:
    history = SqliteHistory(tmp_path / "history.sqlite", keep_events=3)
    for n in range(5):
        history.save(events=[event(str(n))])
    kept = [(seen.id, seen.reason) for seen in history.events()]
    assert kept == [(3, "2"), (4, "3"), (5, "4")]
    history._database.execute("DELETE FROM events")
    assert history.save(events=[event("5")])[0].id == 6, "no id is given again, whatever was forgotten"
    history.close()


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    history = SqliteHistory(tmp_path / "new" / "folder" / "history.sqlite")
    history.close()
    history.close()


def refused(file: Path) -> str:
    before = file.read_bytes()
    with pytest.raises(TrapdError) as caught:
        SqliteHistory(file)
    assert file.read_bytes() == before  # nothing is mended or overwritten
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_history_of_a_newer_trapd_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    database = sqlite3.connect(file)
    database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    database.close()
    assert f"schema {SCHEMA + 1}, written by a newer trapd, and this one knows {SCHEMA}" in refused(file)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE birds (name TEXT)")
    database.close()
    assert "it is a database of something else; move it away" in refused(file)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    file.write_bytes(b"#!/bin/sh\n" * 200)
    assert "file is not a database; move it away, with the -wal and -shm files" in refused(file)


def test_a_damaged_file_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    history = SqliteHistory(file)
    history.save(events=[event("x" * 3000) for _ in range(40)])
    history.close()
    with file.open("r+b") as stream:
        stream.seek(4096 * 9)
        stream.write(b"\xff" * 4096 * 6)
    assert "move it away" in refused(file)


def test_a_file_that_was_cut_off_is_refused_wherever_that_was(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    with closing(SqliteHistory(file)) as history:
        history.save(events=[event("x" * 3000) for _ in range(40)])
    whole = file.read_bytes()
    for size in (50, 4096, len(whole) // 2, len(whole) - 4096):
        file.write_bytes(whole[:size])
        assert "move it away" in refused(file), f"{size} of {len(whole)} bytes"
    file.write_bytes(whole[:-100])  # which SQLite takes for zeros
    with closing(SqliteHistory(file)) as history, pytest.raises(TrapdError, match="move it away"):
        history.events(limit=100)


def lived_in(file: Path) -> SqliteHistory:
    history = SqliteHistory(file)
    for number in range(1, 6):
        one = PoolState(f"pool{number}", wanted=history.next_generation(), rollout=rollout(number, f"pool{number}"))
        history.save(generations=[generation(number)], pools=[one], events=[event("x" * 700) for _ in range(20)])
    return history


def told(file: Path) -> str:
    """What is said of it by the time that all of it is read; empty if nothing is."""
    try:
        with closing(SqliteHistory(file)) as history:
            history.pools(), history.rollouts(limit=99), history.events(limit=999), history.generations()
            history.last_generation(), history.unfinished(), history.failures("default@1-1")
    except HistoryError as error:
        return str(error)
    return ""


def test_a_file_cut_off_at_any_page_or_within_it_is_never_read_as_another_history(tmp_path: Path) -> None:
    """But for one of 0 or 1 bytes, which is what a trapd leaves that was killed while it made the file: a new history,
    of which generations that are there tell that it has lost its end."""
    file = tmp_path / "history.sqlite"
    with closing(lived_in(file)):
        pass
    whole = file.read_bytes()
    assert len(whole) % 4096 == 0
    ends = range(0, len(whole), 4096)
    for size in sorted({2, *ends[1:], *(end + more for end in ends for more in (50, 2000)), *range(-4000, 0, 400)}):
        file.write_bytes(whole[:size])
        assert "move it away" in told(file), f"{size} of {len(whole)} bytes"
    for size in (0, 1):
        file.write_bytes(whole[:size])
        with closing(SqliteHistory(file)) as history:
            assert (history.pools(), history.events(), history.last_generation()) == ({}, [], 0)


def test_a_file_cut_off_while_trapd_runs_is_told_at_the_next_start_at_the_latest(tmp_path: Path) -> None:
    """What is written meanwhile makes it no whole history again, and nothing ends trapd."""
    file = tmp_path / "history.sqlite"
    with closing(lived_in(file)):
        pass
    whole = file.read_bytes()
    for size in (50, 4096, len(whole) // 8192 * 4096, len(whole) // 2 + 1000, len(whole) - 4096, len(whole) - 100):
        for path in tmp_path.iterdir():
            path.unlink()
        file.write_bytes(whole)
        with closing(SqliteHistory(file)) as history:
            history.save(events=[event("before")])
            os.truncate(file, size)
            for _ in range(4):  # into the file as well: the write-ahead log is put there every 64 pages
                with suppress(HistoryError):
                    history.save(events=[event("after" * 200) for _ in range(100)])
                    history.events(limit=3)
        assert "move it away" in told(file), f"{size} of {len(whole)} bytes"


def test_a_backup_that_was_put_back_is_an_older_history_that_is_whole(tmp_path: Path) -> None:
    """What is made of it: test_a_history_that_lost_its_end_undoes_nothing_that_runs."""
    file = tmp_path / "history.sqlite"
    with closing(SqliteHistory(file)) as history:
        history.save(events=[event("before")])
    backup = file.read_bytes()
    with closing(SqliteHistory(file)) as history:
        assert history.next_generation() == 1
        history.save(events=[event("after")])
    file.write_bytes(backup)
    with closing(SqliteHistory(file)) as history:
        assert [seen.reason for seen in history.events()] == ["before"]
        assert history.last_generation() == 0


def test_a_record_that_cannot_be_understood_is_said_to_be_damage(tmp_path: Path) -> None:
    history = SqliteHistory(tmp_path / "history.sqlite")
    history.save(generations=[generation(1)])
    history._database.execute("UPDATE generations SET value = '{}'")
    with pytest.raises(TrapdError, match="a record cannot be understood"):
        history.generations()
    history.close()


def test_records_of_a_trapd_that_knew_no_registered_tasks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with closing(SqliteHistory(path)) as history:
        history.save(generations=[generation(7)], pools=[PoolState("default", wanted=7, rollout=rollout(1))])
    with closing(sqlite3.connect(path)) as database:
        for table in ("generations", "rollouts"):
            database.execute(f"UPDATE {table} SET value = json_remove(value, '$.tasks')")
        database.commit()
    with closing(SqliteHistory(path)) as history:
        assert history.generations() == {7: generation(7, tasks=None)}
        assert history.pools()["default"].rollout == replace(rollout(1), tasks=None)


def test_a_full_disk_is_told_and_costs_nothing_that_was_saved(tmp_path: Path) -> None:
    history = SqliteHistory(tmp_path / "history.sqlite")
    history.save(events=[event("before")])
    (pages,) = history._database.execute("PRAGMA page_count").fetchone()
    history._database.execute(
        f"PRAGMA max_page_count = {pages}"
    )  # what SQLite says then is what it says of a full disk
    with pytest.raises(TrapdError, match=r"cannot write the history .*: database or disk is full; see to the room"):
        history.save(pools=[PoolState("default")], events=[event("x" * 20_000)])
    assert history.pools() == {}
    history._database.execute("PRAGMA max_page_count = 1000000")
    history.save(events=[event("after")])
    assert [seen.reason for seen in history.events()] == ["before", "after"]
    history.close()


def test_a_foreign_lock_is_told_at_once_and_over_when_it_is_gone(tmp_path: Path) -> None:
    history = SqliteHistory(tmp_path / "history.sqlite")
    with sqlite3.connect(tmp_path / "history.sqlite") as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(TrapdError, match=r"cannot write the history .*: database is locked"):
            history.save(events=[event("started")])
        assert time.monotonic() - began < 2.0  # of the 5 s that SQLite waits by itself
    history.save(events=[event("started")])
    assert [one.reason for one in history.events()] == ["started"]
    stranger.close()
    history.close()


def test_the_write_ahead_log_stays_small(tmp_path: Path) -> None:
    history = SqliteHistory(tmp_path / "history.sqlite")
    for number in range(300):
        history.save(events=[event("started", detail=f"{number} " + "x" * 4000)])
    assert (tmp_path / "history.sqlite-wal").stat().st_size < 1_000_000
    history.close()


def test_a_history_that_somebody_removed_or_replaced_is_not_written_on_in_vain(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    history = SqliteHistory(file)
    history.next_generation()
    for change in (file.unlink, file.touch):
        change()
        with pytest.raises(
            TrapdError, match=r"cannot write the history .*: somebody removed or replaced it .*; restart"
        ):
            history.next_generation()
    history.close()


def test_the_last_generation_is_that_of_the_latest_number(reopen: Reopen) -> None:
    assert reopen().last_generation() == 0
    number = reopen().next_generation()
    assert reopen().last_generation() == number
