"""What is made of the workers' accounts: `tasks`, `tasks end`, and the task that a drain waits for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_controller import FakeController, about, settled, worker
from tests.support.json_schema import faults
from tests.support.no_accounts import NoAccounts
from tests.support.virtual_clock import VirtualClock
from trapd.contracts import Asked
from trapd.control.drains import waits
from trapd.control.handlers import Call
from trapd.control.needs import Context
from trapd.control.receipts import drains
from trapd.control.status import status
from trapd.control.tasks import end_task, tasks
from trapd.control.why import why
from trapd.ctl.render import Screen
from trapd.ctl.verbs.status import show as show_status
from trapd.ctl.verbs.tasks import show
from trapd.errors import RefusedError, UsageError
from trapd.event import Became, Event, EventKind, TaskEnd
from trapd.model import InstanceId, Rollout, RolloutState
from trapd.work import ENOUGH, Like, TaskCounts, TaskRun, Work

CLOCK = VirtualClock()
NOW = CLOCK.wall()
ONE = InstanceId("default", 7, 1)
HELD = TaskRun("id-1", "proj.hold", NOW - 190.0, "red")
COUNTS = TaskCounts(received=20, started=19, succeeded=15, failed={"KeyError": 2}, revoked=2, unbegun=1, longest=3.0)


class FakeAccounts(NoAccounts):
    """Each worker has this work; ``ended`` is what was asked to end."""

    def __init__(self, works: Mapping[str, Work] | None = None) -> None:
        self.found = works or {}
        self.ended: list[tuple[str, str, bool]] = []

    async def work(
        self, instance: str, pid: int, retrials: Mapping[str, str] | None = None, *, abstain: bool = False
    ) -> Work:
        return self.found.get(instance, Work())

    async def works(self, asked: Sequence[Asked]) -> Sequence[Work]:
        return [await self.work(one.instance, one.pid) for one in asked]

    async def end(self, instance: str, pid: int, id: str, *, now: bool) -> str:
        self.ended.append((instance, id, now))
        if id not in [run.id for run in self.found.get(instance, Work()).running]:
            raise RefusedError("it does not run here and does not wait here")
        return "it was killed"

    def written(self, instance: str, pid: int) -> Sequence[TaskRun]:
        return self.found.get(instance, Work()).running


BUSY = FakeAccounts(
    {
        "default@7-1": Work((HELD,), phase="draining", queues=("red",), counts={"proj.hold": COUNTS}),
        "default@7-2": Work((TaskRun("id-2", "proj.add", NOW - 1.0),), unanswered="no answer within 2 s"),
    }
)


def draining() -> FakeController:
    controller = settled(CLOCK)
    controller.put("default", instances=(worker(CLOCK, "default@7-1", "draining"), worker(CLOCK, "default@7-2")))
    return controller


def call(accounts: FakeAccounts, controller: FakeController, **params: Any) -> Call[Any]:
    async def report(_: Mapping[str, object]) -> None: ...

    context = Context(about(), controller, CLOCK, controller.look_at_disk, accounts)
    return Call(context, controller, controller, params, "alice", report)


def test_each_worker_tells_its_tasks_and_a_silent_one_has_its_table() -> None:
    document = asyncio.run(tasks(call(BUSY, draining(), subject=None)))
    assert faults(document, "Tasks") == []
    first, second = document["workers"]
    assert (first["worker"], first["state"], first["phase"]) == ("default@7-1", "draining", "draining")
    [run] = first["running"]
    assert (run["id"], run["queue"], run["seconds"], run["longest"], run["far"]) == ("id-1", "red", 190.0, 3.0, True)
    assert first["counts"][0]["failed"] == {"KeyError": 2}
    assert (second["unanswered"], second["reserved"], len(second["running"])) == ("no answer within 2 s", None, 1)


@pytest.mark.parametrize("subject", ["default", "default@7-1"])
def test_only_what_was_named_is_shown(subject: str) -> None:
    document = asyncio.run(tasks(call(BUSY, draining(), subject=subject)))
    assert [each["worker"] for each in document["workers"]][:1] == ["default@7-1"]
    assert len(document["workers"]) == (2 if subject == "default" else 1)


def test_a_name_of_nothing_is_told() -> None:
    with pytest.raises(UsageError, match=r"cannot find 'gpu': name a pool \(default\) or a worker"):
        asyncio.run(tasks(call(BUSY, draining(), subject="gpu")))


def test_the_table_shows_what_a_drain_waits_for_and_what_is_unlike_others() -> None:
    stream = io.StringIO()
    show(Screen(stream), asyncio.run(tasks(call(BUSY, draining(), subject=None))), NOW)
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert lines == [
        "TASK ID RUNS FOR WORKER STATE CODE QUEUE",
        "proj.hold id-1 3m10s default@7-1 draining trap 1.3.0 red",
        "runs far longer than its like: the longest so far took 3s",
        "default@7-1 waits for this task before it exits",
        "proj.add id-2 1s default@7-2 ready trap 1.3.0 -",
        "problem: default@7-2 does not answer (no answer within 2 s); its tasks are those of its task table",
    ]


def test_where_nothing_runs_that_is_said() -> None:
    stream = io.StringIO()
    show(Screen(stream), asyncio.run(tasks(call(FakeAccounts(), draining(), subject=None))), NOW)
    assert stream.getvalue() == "no task runs\n"


def test_the_worker_that_runs_it_ends_it_and_history_has_who_did() -> None:
    controller, accounts = draining(), FakeAccounts({"default@7-1": Work((HELD,))})
    document = asyncio.run(end_task(call(accounts, controller, task="id-1", now=True)))
    assert faults(document, "TaskEnded") == []
    assert (document["worker"], document["done"]) == ("default@7-1", "it was killed")
    assert accounts.ended == [("default@7-1", "id-1", True)]
    [event] = [event for event in controller.history.events() if event.kind is EventKind.TASK_ENDED]
    assert (event.actor, event.reason) == ("alice", "task id-1 in default@7-1: it was killed")


def test_where_no_worker_has_it_each_was_asked() -> None:
    accounts = FakeAccounts()
    with pytest.raises(RefusedError, match="no worker that answers has it; trapctl celery control revoke id-9 keeps"):
        asyncio.run(end_task(call(accounts, draining(), task="id-9", now=False)))
    assert [instance for instance, _, _ in accounts.ended] == ["default@7-1", "default@7-2"]


def test_status_and_why_name_the_task_that_a_drain_waits_for() -> None:
    controller = draining()
    context = call(BUSY, controller).context
    found = asyncio.run(waits(context, controller.pools()))
    assert found == {ONE: (HELD,)}
    document = status(context, controller.pools(), waits=found)
    first, second = document["pools"][0]["instances"]
    assert (first["waits_for"][0]["id"], second["waits_for"]) == ("id-1", [])
    stream = io.StringIO()
    show_status(Screen(stream), document, NOW)
    sentence = "waits for task proj.hold[id-1], which has run for 3m10s"
    assert sentence in stream.getvalue()
    for subject in ("default", "default@7-1"):
        assert why(context, subject, found)["chain"][-1]["text"] == f"default@7-1 {sentence}"
    assert sentence not in str(why(context, "default@7-2", found))


def test_a_drain_that_is_longer_than_the_progress_deadline_is_a_problem() -> None:
    controller = draining()
    context = call(BUSY, controller).context
    assert status(context, controller.pools(), waits={})["pools"][0]["problems"] == ["1 of 2 workers are ready"]
    controller.put(
        "default", instances=(worker(CLOCK, "default@7-1", "draining", ago=601.0), worker(CLOCK, "default@7-2"))
    )
    for waiting, words in (({}, ""), ({ONE: [HELD]}, ": it waits for task proj.hold[id-1], which has run for 3m10s")):
        problems = status(context, controller.pools(), waits=waiting)["pools"][0]["problems"]
        assert f"default@7-1 drains for 10m01s{words}" in problems


@pytest.mark.parametrize(
    ("ended", "longest", "seconds", "far"),
    [
        (ENOUGH, 1.0, 61.0, False),
        (ENOUGH, 1.0, 61.1, True),
        (ENOUGH - 1, 1.0, 900.0, False),
        (ENOUGH, 100.0, 299, False),
    ],
)
def test_unlike_is_three_times_and_a_minute_longer_than_enough_others(
    ended: int, longest: float, seconds: float, far: bool
) -> None:
    assert Like(ended, longest).exceeded_by(seconds) is far


def test_a_worker_that_ended_has_a_receipt() -> None:
    controller = draining()
    ends = [TaskEnd("id-1", "proj.hold", Became.UNKNOWN), TaskEnd("id-2", "proj.add", Became.FINISHED)]
    of: Any = {"pool": "default", "generation": 6, "rollout": 3, "instance": "default@6-1"}
    gone = Event(NOW - 60, EventKind.GONE, "was ended; of 2 tasks 1 finished, 1 unknown", **of, tasks=tuple(ends))
    controller.history.save(events=[Event(NOW - 90, EventKind.DRAINING, "goes", **of), gone])
    document = asyncio.run(tasks(call(BUSY, controller, subject="default@6-1")))
    assert faults(document, "Tasks") == []
    assert (document["workers"], [event["reason"] for event in document["ended"]]) == ([], [gone.reason])
    stream = io.StringIO()
    show(Screen(stream), document, NOW)
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert lines[0].endswith(": was ended; of 2 tasks 1 finished, 1 unknown")
    assert lines[1:] == ["TASK ID BECAME", "proj.hold id-1 unknown", "proj.add id-2 finished"]
    steps = why(call(BUSY, controller).context, "default@6-1")["chain"]
    assert [(step["what"], step["text"]) for step in steps[-2:]] == [
        ("finished", "proj.add[id-2]"),
        ("unknown", "proj.hold[id-1]"),
    ]
    rollout = Rollout(3, "default", 7, 6, RolloutState.COMPLETE, "it is", "watch", NOW, 0.0)
    assert drains(controller.history, [rollout, replace(rollout, id=4)]) == [
        {"rollout": 3, "finished": 1, "returned": 0, "unknown": 1}
    ]
