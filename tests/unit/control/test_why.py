"""`why`: one chain from what set it off to what is awaited now."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.support.fake_controller import TRACEBACK, FakeController, about, settled, worker
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd.control.needs import Context
from trapd.control.why import why
from trapd.errors import RefusedError
from trapd.event import Event, EventKind
from trapd.model import InstanceId, RolloutState
from trapd.rollout.actions import Drain
from trapd.rollout.intent import Cause, CopyOf, Nothing, Received, Trigger
from trapd.rollout.room import Room

CLOCK = VirtualClock()


def upgraded() -> FakeController:
    """In the middle of an upgrade from generation 7 to 8, as rollout 1."""
    controller = settled(CLOCK)
    asyncio.run(controller.recycle(["default"], actor="alice (uid 1001)", reason="trap 1.3.0 -> 1.4.0"))
    controller.generations[8] = replace(controller.generations[8], versions={"trap": "1.4.0"})
    started = Event(CLOCK.wall(), EventKind.STARTED, "canary of generation 8", "trapd", "default", 1, 8, "default@8-1")
    controller.history.save(events=[started])
    controller.to("default", RolloutState.ROLLING)
    controller.put(
        "default",
        instances=(worker(CLOCK, "default@8-1"), worker(CLOCK, "default@7-1", "draining")),
        actions=(Drain(InstanceId("default", 7, 2), "generation 8 takes over from 7"),),
        waiting="default@7-1 to finish its tasks",
    )
    return controller


def chain(controller: FakeController, subject: str) -> list[tuple[str, str]]:
    said = why(Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS), subject)
    return [(step["what"], step["text"]) for step in said["chain"]]


@pytest.mark.parametrize("subject", ["default", "1"])
def test_a_pool_and_its_rollout_tell_the_versions_who_every_step_and_what_is_awaited(subject: str) -> None:
    assert chain(upgraded(), subject) == [
        ("generation", "generation 8: trap 1.3.0 -> 1.4.0 (by alice (uid 1001))"),
        ("wanted", "trap 1.3.0 -> 1.4.0 (by alice (uid 1001))"),
        ("started", "default@8-1: canary of generation 8"),
        ("rolling", "trap 1.3.0 -> 1.4.0"),
        ("rolling", "rollout 1: trap 1.3.0 -> 1.4.0"),
        ("next", "drain default@7-2: generation 8 takes over from 7"),
        ("waiting", "waits for default@7-1 to finish its tasks"),
    ]


def test_what_changed_is_told_once_where_the_reason_of_a_generation_names_it() -> None:
    controller = upgraded()
    controller.generations[8] = replace(controller.generations[8], reason="trap 1.3.0 -> 1.4.0, numpy 1.26.4 -> 2.0.1")
    assert chain(controller, "1")[0] == (
        "generation",
        "generation 8: trap 1.3.0 -> 1.4.0, numpy 1.26.4 -> 2.0.1 (by alice (uid 1001))",
    )


def test_a_pool_tells_what_its_latest_trigger_meant_in_its_place_and_what_the_disk_means_now() -> None:
    controller = upgraded()
    began = chain(controller, "default")
    refused = Nothing(Cause.REFUSED, "what is installed was refused before: undone by alice")
    paused = Nothing(Cause.PAUSED, "it is paused; resume it first")
    controller.put("default", installed=refused, received=Received(CLOCK.wall(), Trigger.UNDO, "bob", paused))
    now = began.index(("rolling", "rollout 1: trap 1.3.0 -> 1.4.0"))
    assert chain(controller, "default") == [
        *began[:now],
        ("undo", "nothing changes, because it is paused; resume it first (by bob)"),
        *began[now:],
        ("disk", "nothing changes, because what is installed was refused before: undone by alice"),
    ]
    assert chain(controller, "1") == began, "that is the pool's, not the rollout's"
    rolled = Received(CLOCK.wall(), Trigger.RECYCLE, "bob", CopyOf(7, "memory"))
    controller.put("default", installed=None, received=rolled)
    assert chain(controller, "default") == began, "the rollout tells of it"


def test_a_rejected_rollout_ends_with_its_reason_and_carries_the_traceback() -> None:
    controller = upgraded()
    controller.put("default", actions=(), waiting="")
    controller.to("default", RolloutState.REJECTED, "default@8-1 failed to start", TRACEBACK)
    said = why(Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS), "1")
    last = said["chain"][-1]
    assert (last["what"], last["text"]) == ("rejected", "default@8-1 failed to start")
    assert [step["what"] for step in said["chain"]].count("rejected") == 1
    assert said["detail"] == TRACEBACK


def test_an_old_rollout_does_not_claim_what_the_pool_waits_for_now() -> None:
    controller = upgraded()
    asyncio.run(controller.recycle(["default"], actor="root", reason="again"))
    assert "waiting" not in [what for what, _ in chain(controller, "1")]
    assert chain(controller, "1")[-1] == ("superseded", "another generation is wanted instead")


def test_a_worker_tells_its_generation_why_it_was_started_and_how_it_is() -> None:
    assert chain(upgraded(), "default@8-1") == [
        ("generation", "generation 8: trap 1.3.0 -> 1.4.0 (by alice (uid 1001))"),
        ("started", "default@8-1: canary of generation 8"),
        ("ready", "ready for 60 s; code current; trap 1.3.0"),
    ]


def test_a_worker_that_drains_tells_what_it_is_waited_for() -> None:
    steps = chain(upgraded(), "trapd-worker-default@7-1.service")
    assert steps[-2:] == [
        ("draining", "draining for 60 s; code stale; trap 1.3.0"),
        ("waiting", "pool default waits for default@7-1 to finish its tasks"),
    ]


def test_a_failed_worker_tells_how_often_and_carries_the_traceback() -> None:
    controller = upgraded()
    controller.put("default", instances=(worker(CLOCK, "default@8-1", "failed", ago=30.0),))
    said = why(Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS), "default@8-1")
    assert "failed 1 time, 30 s ago: ModuleNotFoundError: numba_next" in said["chain"][-1]["text"]
    assert said["detail"] == TRACEBACK


def test_a_worker_that_is_gone_is_still_explained_from_history() -> None:
    controller = upgraded()
    controller.put("default", instances=())
    assert chain(controller, "default@8-1")[-1] == ("gone", "default@8-1 is not there any more")


def test_what_history_says_of_a_workers_leaving_is_not_said_again() -> None:
    controller = upgraded()
    controller.put("default", instances=())
    why = "left 0.5 s after it was asked to"
    controller.history.save(events=[Event(CLOCK.wall(), EventKind.GONE, why, "trapd", "default", 1, 8, "default@8-1")])
    assert chain(controller, "default@8-1")[-2:] == [
        ("started", "default@8-1: canary of generation 8"),
        ("gone", f"default@8-1: {why}"),
    ]


def test_a_pool_where_nothing_was_ever_rolled_out_tells_its_events() -> None:
    controller = settled(CLOCK)
    controller.put("default", waiting="the code on disk to settle")
    assert chain(controller, "default") == [("waiting", "waits for the code on disk to settle")]


def test_a_rollout_that_waits_tells_how_many_may_be_alive_and_for_how_many_there_was_memory() -> None:
    controller = settled(CLOCK)
    controller.put("default", waiting="default@8-1 to finish its tasks", room=Room(3, 1200 << 20, 400 << 20))
    assert chain(controller, "default")[-1] == (
        "memory",
        "at most 7 workers are alive: 2 wanted, max_surge 1, max_draining 4; when a pass last asked, there was memory "
        "for 3 more (1.2G are free, and a worker needs 400M)",
    )
    controller.put("default", room=Room())
    text = "it is not known how much memory is free, or how much a worker needs"
    many = "at most 3 workers are alive: 2 wanted, max_surge 1, max_draining 0"
    assert chain(controller, "default")[-1] == ("memory", f"{many} ({text})")
    short = "memory for the canary: 1M are free, and a worker needs 400M"
    controller.put("default", waiting=short, short=short, room=Room(0, 1 << 20, 400 << 20))
    assert chain(controller, "default")[-1] == ("waiting", f"waits for {short}"), "once is enough"


def test_a_pause_tells_how_to_go_on() -> None:
    controller = upgraded()
    controller.put("default", state=replace(controller.pool("default").state, paused=True))
    assert chain(controller, "default")[-1] == ("paused", "trapctl rollout resume default lets it go on")


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("99", "cannot find rollout 99: see trapctl rollout history"),
        ("default@3-1", "cannot explain default@3-1: no such worker runs, and history has none"),
        ("what?", "cannot explain 'what\\?': name a pool \\(default\\), a rollout's number, a worker"),
        ("9" * 900, "cannot explain"),
        (f"default@{'9' * 23}-1", "cannot explain 'default@9+-1': name a pool"),
        (f"default@1-{'9' * 23}", "cannot explain 'default@1-9+': name a pool"),
    ],
)
def test_what_is_not_there_cannot_be_explained(subject: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        chain(upgraded(), subject)
