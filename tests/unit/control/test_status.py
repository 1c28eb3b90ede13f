"""The status document: its shape is a promise to other tools, its problems are sentences for people."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_controller import TRACEBACK, FakeController, about, settled, worker
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd.backend.words import ailment, hangs_on
from trapd.control import documents
from trapd.control.documents import DaemonState
from trapd.control.needs import Context
from trapd.control.problems import missing
from trapd.control.status import status
from trapd.ctl.render import Screen
from trapd.ctl.verbs.status import show
from trapd.model import (
    Ailment,
    CodeReport,
    Disk,
    DiskState,
    InstanceState,
    PoolState,
    Refusal,
    Retrial,
    Rollout,
    RolloutState,
    Scope,
)
from trapd.rollout import want
from trapd.rollout.intent import Cause, Nothing
from trapd.spec import PoolSpec
from trapd.worker.health import Health, Phase
from trapd.worker.standing import BROKER, RESULTS, Standing

CLOCK = VirtualClock()


def document(controller: FakeController) -> documents.Status:
    return status(Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS), controller.pools())


def rolling(state: RolloutState, **more: Any) -> Rollout:
    return Rollout(3, "default", 8, 7, state, "trap 1.3.0 -> 1.4.0", "watch", CLOCK.wall(), CLOCK.now(), **more)


def with_rollout(state: RolloutState, **more: Any) -> FakeController:
    controller = settled(CLOCK)
    before = controller.pool("default").state
    controller.put("default", state=replace(before, rollout=rolling(state, **more)))
    return controller


def at(wall: float) -> str:
    return f"at {wall:g}"


def test_what_workers_need_and_do_not_have_is_said() -> None:
    controller = settled(CLOCK)
    assert missing(controller.disk, controller.pools(), at) == []
    one, two = controller.pool("default").instances
    cut_off = replace(
        one, ailment=Ailment.CUT_OFF, status="broker unreachable for 12 s, 0 active"
    )  # READY still: it was, and will be
    controller.put("default", instances=(cut_off, two))
    words = "1 worker of pool default cannot reach the broker, for 12s"
    assert missing(controller.disk, controller.pools(), at) == [words]
    assert document(controller)["pools"][0]["problems"] == [words]
    broken = Disk(DiskState.BROKEN, "trap cannot be found")
    assert missing(broken, [], at) == ["what is installed is broken and not rolled out: trap cannot be found"]


@pytest.mark.parametrize("whom", [BROKER, RESULTS])
def test_a_worker_says_it_in_the_words_that_are_looked_for(whom: str) -> None:
    health = Health(lambda: (0, 0), 0.0, 0.0)
    health.enter(Phase.CONNECTING, 0.0)
    said = health.message(5.0, lambda: Standing("socket.py:7", whom))["STATUS"]
    assert ailment(said) is Ailment.CUT_OFF
    controller = settled(CLOCK)
    controller.put("default", instances=(worker(CLOCK, "default@7-1", status=said, ailment=Ailment.CUT_OFF),))
    assert f"1 worker of pool default cannot reach the {whom}, for 5s" in problems(controller)
    health.enter(Phase.READY, 6.0)
    later = [health.message(at, lambda: Standing("jobs.py:7", ""))["STATUS"] for at in (10.0, 14.0, 18.0, 22.0, 26.0)]
    assert ailment(later[-1]) is Ailment.STALLED


def test_the_document_says_what_runs_and_what_is_installed() -> None:
    controller = with_rollout(RolloutState.COMPLETE)
    said = document(controller)
    assert said["schema"] == 2
    assert {"version": "0.1.0", "pid": 4242, "backend": "embedded", "state": "running"}.items() <= said[
        "daemon"
    ].items()
    assert said["disk"] == {"state": "settled", "digest": "f0", "versions": {"trap": "1.3.0"}, "reason": ""}
    (pool,) = said["pools"]
    assert {"name": "default", "wanted": 2, "ready": 2, "generation": 7}.items() <= pool.items()
    assert {"id": 3, "state": "complete", "reason": "trap 1.3.0 -> 1.4.0"}.items() <= (pool["rollout"] or {}).items()
    promised = {
        "name": "default@7-1",
        "unit": "trapd-worker-default@7-1.service",
        "pid": 4071,
        "state": "ready",
        "generation": 7,
        "code": "current",
        "versions": {"trap": "1.3.0"},
        "active_tasks": 1,
        "since": CLOCK.wall() - 60.0,
    }
    assert promised.items() <= pool["instances"][0].items()


def test_what_is_as_desired_has_no_problems() -> None:
    said = document(settled(CLOCK))
    assert said["daemon"]["eager"] is False
    assert said["problems"] == []
    assert {"paused": False, "last_good": 7, "waiting": "", "problems": [], "rollout": None}.items() <= said["pools"][
        0
    ].items()


def test_the_newest_generation_comes_first_and_slots_in_order() -> None:
    controller = settled(CLOCK)
    names = ["default@7-2", "default@8-1", "default@7-1", "default@7-10"]
    controller.put("default", instances=tuple(worker(CLOCK, name) for name in names))
    shown = [one["name"] for one in document(controller)["pools"][0]["instances"]]
    assert shown == ["default@8-1", "default@7-1", "default@7-2", "default@7-10"]


def test_a_worker_that_said_nothing_of_its_code_is_unknown_and_has_no_versions() -> None:
    controller = settled(CLOCK)
    controller.put("default", instances=(worker(CLOCK, "default@7-1", report=None),))
    (one,) = document(controller)["pools"][0]["instances"]
    assert (one["code"], one["versions"]) == ("unknown", {})


# --- problems: what takes `trapctl status` from exit status 0 to 1 ---------------------------------------------------


def problems(controller: FakeController) -> list[str]:
    said = document(controller)
    return [*said["problems"], *said["pools"][0]["problems"]]


@pytest.mark.parametrize(
    "state",
    [s for s in RolloutState if s not in (RolloutState.REJECTED, RolloutState.FAILED)],
)
def test_a_rollout_that_goes_on_or_went_well_is_no_problem(state: RolloutState) -> None:
    assert problems(with_rollout(state)) == []


@pytest.mark.parametrize(
    ("state", "words"),
    [(RolloutState.REJECTED, "generation 8 was rejected: no"), (RolloutState.FAILED, "generation 8 was given up: no")],
)
def test_a_rollout_that_went_wrong_is_a_problem_with_its_traceback(state: RolloutState, words: str) -> None:
    controller = with_rollout(state, detail=TRACEBACK)
    rollout = controller.pool("default").state.rollout
    assert rollout is not None
    controller.to("default", state, reason="no", detail=TRACEBACK)
    assert problems(controller) == [words]
    shown = document(controller)["pools"][0]["rollout"]
    assert shown is not None
    assert shown["detail"] == TRACEBACK


def test_what_was_rejected_and_then_taken_back_is_no_problem_any_more() -> None:
    controller = with_rollout(RolloutState.REJECTED)
    controller.put("default", state=replace(controller.pool("default").state, wanted=7))
    assert problems(controller) == ["generation 8 was rejected: trap 1.3.0 -> 1.4.0"]
    controller.disk = Disk(DiskState.SETTLED, fingerprint=controller.generations[7].fingerprint)
    assert problems(controller) == []


def held(refusal: Refusal) -> FakeController:
    """trap 1.4.0 is installed, and refused; the latest rollout is a recycle that went well."""
    controller = with_rollout(RolloutState.COMPLETE)
    controller.disk = Disk(DiskState.SETTLED, fingerprint="f9", versions={"trap": "1.4.0"})
    controller.put("default", installed=Nothing(Cause.REFUSED, "it was refused before", refusal))
    return controller


@pytest.mark.parametrize(
    ("why", "ago", "words"),
    [
        ("default@8-1 failed to start (no)", 310.0, "default@8-1 failed to start (no), 5m10s ago"),
        ("undone by ann", 86400.0, "undone by ann, 1d0h ago"),
        ("written down by an earlier trapd", None, "written down by an earlier trapd"),
    ],
)
def test_installed_code_that_does_not_run_is_a_problem_with_its_age_and_the_remedy(
    why: str, ago: float | None, words: str
) -> None:
    wall = 0.0 if ago is None else CLOCK.wall() - ago
    controller = held(Refusal(Scope.CODE, "f9", "", why, wall))
    said = f"trap 1.4.0 is installed and does not run: {words}; "
    remedy = "install other code, or try the same again: trapctl retry default"
    assert problems(controller) == [said + remedy]
    since = why if ago is None else f"{why}, at {wall:g}"
    in_systemctl = f"pool default: trap 1.4.0 is installed and does not run: {since}; {remedy}"
    assert missing(controller.disk, controller.pools(), at) == [in_systemctl]
    controller.put("default", installed=Nothing(Cause.SAME, "it is what is installed"))
    assert problems(controller) == missing(controller.disk, controller.pools(), at) == []


def test_undone_code_in_a_broken_environment_is_told_beside_the_fault() -> None:
    """Whoever repairs the environment would wait for code that nobody wants."""
    controller = settled(CLOCK)
    newer = replace(controller.generations[7], number=8, fingerprint="f9", versions={"trap": "1.4.0"})
    controller.generations[8] = newer
    state = controller.pool("default").state
    undone = Refusal(Scope.CODE, "f9", "", "undone by ann", CLOCK.wall() - 310.0)
    controller.put("default", state=replace(state, refused=(undone,)))
    controller.disk = Disk(DiskState.BROKEN, "trap requires numpy, which is not installed", versions={"trap": "1.4.0"})
    broken = f"what is installed is broken and not rolled out: {controller.disk.reason}"
    assert problems(controller) == [
        broken,
        "trap 1.4.0, which is installed, would not run if it were whole: undone by ann, 5m10s ago; "
        "trapctl retry default tries it then",
    ]
    controller.disk = replace(controller.disk, versions={"trap": "1.3.0"})
    assert problems(controller) == [broken]


def test_a_rollout_that_failed_and_is_held_says_since_when_and_what_to_do() -> None:
    controller = with_rollout(RolloutState.FAILED, ended_wall=CLOCK.wall() - 61.0)
    before = controller.pool("default").state
    controller.put("default", state=replace(before, wanted=8, good=(7,)))
    assert problems(controller)[0] == (
        "generation 8 was given up: trap 1.3.0 -> 1.4.0, 1m01s ago; trapctl retry default tries it again, "
        "trapctl rollout undo default goes back"
    )


def test_too_few_ready_workers_are_a_problem() -> None:
    controller = settled(CLOCK)
    controller.put("default", instances=(worker(CLOCK, "default@7-1"), worker(CLOCK, "default@7-2", "starting")))
    assert problems(controller) == ["1 of 2 workers are ready"]


def test_a_worker_that_stands_still_is_a_problem_and_not_ready() -> None:
    controller = settled(CLOCK)
    one, two = controller.pool("default").instances
    place = "main loop stalled for 31 s at jobs.py:7, 1 active"
    stalled = replace(one, ailment=Ailment.STALLED, status=place)
    silent = replace(two, ailment=Ailment.SILENT, alive_at=CLOCK.now() - 41.0)
    controller.put("default", instances=(stalled, silent))
    assert problems(controller) == [
        "0 of 2 workers are ready",
        f"{one.id} does not work: {place}",
        f"{two.id} gives no sign of life for 41 s",
    ]


def test_a_worker_that_hangs_in_its_drain_is_a_problem() -> None:
    controller = settled(CLOCK)
    draining = worker(
        CLOCK, "default@6-1", state=InstanceState.DRAINING, status="draining, 0 active, not leaving for 21 s"
    )
    ended = worker(CLOCK, "default@6-2", state=InstanceState.STOPPING, status=hangs_on(55.0))
    controller.put("default", instances=(*controller.pool("default").instances, draining, ended))
    assert problems(controller) == [f"{one.id} hangs: {one.status}" for one in (draining, ended)]


def test_a_pause_is_a_problem_and_names_the_rollout_it_holds() -> None:
    controller = with_rollout(RolloutState.ROLLING)
    controller.put("default", state=replace(controller.pool("default").state, paused=True))
    assert problems(controller) == [
        "it is paused, rollout 3 is held, begun 0s ago; trapctl rollout resume default lets it go on"
    ]


def test_a_rollout_that_is_held_is_not_denied_because_of_its_old_workers() -> None:
    controller = with_rollout(RolloutState.ROLLING)
    state = replace(controller.pool("default").state, paused=True)
    controller.put("default", state=state, instances=(worker(CLOCK, "default@6-1"), worker(CLOCK, "default@6-2")))
    assert problems(controller) == [
        "it is paused, rollout 3 is held, begun 0s ago; trapctl rollout resume default lets it go on"
    ]


def test_a_failed_worker_is_a_problem_in_its_own_words() -> None:
    controller = settled(CLOCK)
    two = (worker(CLOCK, "default@7-1"), worker(CLOCK, "default@7-2"), worker(CLOCK, "default@8-1", "failed"))
    controller.put("default", instances=two)
    assert problems(controller) == ["default@8-1 failed: ModuleNotFoundError: numba_next"]


def test_a_worker_that_starts_again_and_again_says_why_also_while_it_starts() -> None:
    controller = settled(CLOCK)
    failed = worker(CLOCK, "default@7-2", "failed")
    again = worker(CLOCK, "default@7-2", "starting", failures=3, failure=failed.failure)
    controller.put("default", instances=(worker(CLOCK, "default@7-1"), again))
    assert problems(controller) == [
        "1 of 2 workers are ready",
        "default@7-2 starts again, it failed 3 times: ModuleNotFoundError: numba_next",
    ]


def test_mixed_unknown_and_stale_workers_are_problems_but_not_stale_ones_that_are_being_replaced() -> None:
    controller = settled(CLOCK)
    stray = CodeReport(7, "d", {"trap": "1.3.0"}, strays=("trap.x=/usr/x.py",))
    controller.put(
        "default",
        instances=(
            worker(CLOCK, "default@7-1", report=stray),
            worker(CLOCK, "default@7-2", report=None),
            worker(CLOCK, "default@6-1"),
        ),
    )
    assert problems(controller) == [
        "1 worker loaded code from outside the snapshot",
        "1 worker did not report which code was loaded",
        "1 worker of another generation than 7, and no rollout is on",
    ]
    state = replace(controller.pool("default").state, rollout=rolling(RolloutState.ROLLING))
    controller.put("default", state=state, instances=(worker(CLOCK, "default@7-1"), worker(CLOCK, "default@6-1")))
    assert problems(controller) == []
    compared = replace(rolling(RolloutState.COMPLETE), retrials=(Retrial("add", 1, CLOCK.now(), "worse"),))
    controller.put("default", state=replace(state, rollout=compared))  # the old worker is there on purpose
    assert problems(controller) == []


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_a_trapd_that_comes_or_goes_is_a_problem_since_it_wants_no_workers(state: DaemonState) -> None:
    controller = settled(CLOCK)
    controller.put("default", wanted_workers=0)
    said = status(
        Context(replace(about(), state=lambda: state), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS)
    )
    assert said["problems"] == [f"trapd is {state}"]


def test_what_troubles_trapd_itself_is_a_problem() -> None:
    controller = settled(CLOCK)
    context = Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS)
    said = status(context, troubles=["trapd.toml cannot be read"])
    assert said["problems"] == ["trapd.toml cannot be read"]


def test_a_broken_disk_is_a_problem_and_a_changing_one_is_not() -> None:
    controller = settled(CLOCK)
    controller.disk = Disk(DiskState.BROKEN, reason="pip left ~rap behind")
    assert problems(controller) == ["what is installed is broken and not rolled out: pip left ~rap behind"]
    controller.disk = Disk(DiskState.CHANGING, reason="pip is at work")
    assert problems(controller) == []


def test_without_workers_an_eager_application_is_as_desired_and_says_so() -> None:
    controller = FakeController(CLOCK, PoolSpec("default", workers=2))
    controller.generation(7, eager=True)
    controller.put("default", state=PoolState("default", wanted=7), wanted_workers=0)
    said = document(controller)
    assert said["daemon"]["eager"] is True
    assert said["pools"][0]["problems"] == []


def test_a_number_of_workers_that_trapd_toml_does_not_say_is_shown_with_its_actor_and_age() -> None:
    controller = settled(CLOCK)
    assert document(controller)["warnings"] == []
    before = controller.pool("default").state
    controller.put("default", state=want.scaled(before, 3, "anna (uid 1001)", CLOCK.wall() - 90))
    (warning,) = document(controller)["warnings"]
    assert warning == (
        "pool default was scaled to 3 by anna (uid 1001), 1m30s ago; trapd.toml says 2: "
        "trapctl scale default --reset goes back to it"
    )
    assert document(controller)["problems"] == []  # somebody wants it so
    controller.put("default", state=want.scaled(before, None, "anna (uid 1001)", CLOCK.wall()))
    assert document(controller)["warnings"] == []


# --- problems as values, with an age ---------------------------------------------------------------------------------


def test_each_problem_is_a_value_with_its_kind_its_subject_and_its_age() -> None:
    controller, clock = settled(CLOCK), VirtualClock()
    failed = worker(clock, "default@8-1", "failed", ago=40.0)
    controller.put("default", instances=(worker(clock, "default@7-1"), failed))
    context = Context(about(), controller, clock, controller.look_at_disk, NO_ACCOUNTS)
    first = status(context, controller.pools(), troubles=["cannot write: 12 KiB are free"])
    assert [(p["kind"], p["pool"], p["worker"], p["seconds"]) for p in first["open_problems"]] == [
        ("trouble", None, None, 0.0),
        ("too-few-ready", "default", None, 0.0),
        ("failed", "default", "default@8-1", 40.0),
    ]
    assert [p["text"] for p in first["open_problems"]] == [*first["problems"], *first["pools"][0]["problems"]]
    clock.move_to(clock.now() + 70.0)
    later = status(context, controller.pools(), troubles=["cannot write: 8 KiB are free"])
    assert [p["seconds"] for p in later["open_problems"]] == [70.0, 70.0, 110.0]


def test_a_problem_that_was_over_in_between_begins_anew() -> None:
    controller, clock = settled(CLOCK), VirtualClock()
    context = Context(about(), controller, clock, controller.look_at_disk, NO_ACCOUNTS)
    full = controller.pool("default").instances
    for instances, age in ((full[:1], 0.0), (full, None), (full[:1], 0.0)):
        controller.put("default", instances=instances)
        found = status(context, controller.pools())["open_problems"]
        assert [problem["seconds"] for problem in found] == ([] if age is None else [age])
        clock.move_to(clock.now() + 100.0)


def test_a_rollout_that_waits_for_a_person_is_a_problem_of_its_own_kind() -> None:
    controller = with_rollout(RolloutState.ROLLING)
    controller.put("default", state=replace(controller.pool("default").state, paused=True))
    assert [problem["kind"] for problem in document(controller)["open_problems"]] == ["held"]


def test_a_problem_is_shown_with_its_age_unless_its_sentence_has_one() -> None:
    controller, clock = settled(CLOCK), VirtualClock()
    silent = worker(clock, "default@7-2", ailment=Ailment.SILENT, alive_at=clock.now() - 41.0)
    controller.put("default", instances=(silent,))
    context = Context(about(), controller, clock, controller.look_at_disk, NO_ACCOUNTS)
    status(context, controller.pools())
    clock.move_to(clock.now() + 70.0)
    stream = io.StringIO()
    show(Screen(stream), status(context, controller.pools()), clock.wall())
    assert "problem    0 of 2 workers are ready (for 1m10s)\n" in stream.getvalue()
    assert "problem    default@7-2 gives no sign of life for 111 s\n" in stream.getvalue()
