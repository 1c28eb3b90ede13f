"""The metrics, read by the parser of Prometheus' own client: what is there, what is counted, and what ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as read_older

from tests.support.fake_controller import FakeController, about, settled, worker
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd.contracts import Asked
from trapd.control.exposition import FAMILIES
from trapd.control.metrics import EventCounts, Textfile, exposition
from trapd.control.needs import Context
from trapd.event import Event, EventKind
from trapd.model import Rollout, RolloutState, SetAside
from trapd.spec import Metrics
from trapd.work import TaskCounts, TaskRun, Work

Figures = dict[str, dict[frozenset[tuple[str, str]], float]]
ODD = 'proj."odd"\\name\n'
CLOCK = VirtualClock()


class Accounts(type(NO_ACCOUNTS)):  # type: ignore[misc]
    """Each worker runs one task, and has ended some."""

    async def works(self, asked: Sequence[Asked]) -> Sequence[Work]:
        run = TaskRun("an-id", "proj.long", CLOCK.wall() - 90.0)
        counts = {
            "proj.add": TaskCounts(received=9, started=9, succeeded=5, failed={"KeyError": 2, "OSError": 1}, retried=1),
            ODD: TaskCounts(received=1, started=1, succeeded=1, seconds=0.25, longest=0.25),
        }
        return [Work(running=(run,), reserved=3, counts=counts) for _ in asked]


def context_of(controller: FakeController) -> Context:
    accounts = Accounts()
    counts = EventCounts(controller.history)
    return Context(about(), controller, CLOCK, controller.look_at_disk, accounts, counts=counts)


def parsed(text: str) -> Figures:
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def figures(controller: FakeController, context: Context | None = None) -> Figures:
    return parsed(asyncio.run(exposition(context or context_of(controller))))


def of(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def test_every_metric_is_parsed_with_its_type_its_unit_and_its_meaning() -> None:
    families = {f.name: f for f in text_string_to_metric_families(asyncio.run(exposition(context_of(settled(CLOCK)))))}
    assert set(families) == {family.name for family in FAMILIES}
    for family in FAMILIES:
        seen = families[family.name]
        assert (seen.type, seen.unit, seen.documentation) == (family.kind, family.unit, family.meaning)


def test_the_file_for_node_exporter_has_the_same_figures_in_the_older_format() -> None:
    """In which a counter's type is that of the name with _total; node_exporter 1.5.0 takes it for untyped otherwise."""
    context = context_of(settled(CLOCK))
    text = asyncio.run(exposition(context, older=True))
    assert "# TYPE trapd_tasks_total counter\n" in text
    assert "# EOF" not in text
    older = {family.name: family for family in read_older(text)}
    assert {name: older[name].type for name in older} == {family.name: family.kind for family in FAMILIES}
    found = {s.name: s.value for family in older.values() for s in family.samples}
    assert found.keys() == figures(settled(CLOCK), context).keys()


def test_messages_that_are_set_aside_are_counted_by_task_and_reason() -> None:
    controller = settled(CLOCK)
    aside = (
        SetAside("proj.gone", "red.trapd-parked", 3, 5.0),
        SetAside("proj.kill", "red.trapd-parked", 1, 5.0, id="a", kills=3),
        SetAside("proj.kill", "red.trapd-parked", 1, 5.0, id="b", kills=3),
    )
    one = worker(CLOCK, "default@7-1")
    assert one.report is not None
    controller.put("default", instances=(replace(one, report=replace(one.report, aside=aside)),))
    labels = {"pool": "default", "queue": "red.trapd-parked"}
    assert figures(controller)["trapd_messages_set_aside"] == {
        of(**labels, task="proj.gone", why="unknown"): 3,
        of(**labels, task="proj.kill", why="poison"): 2,
    }


def test_tasks_are_counted_by_worker_name_and_outcome() -> None:
    found = figures(settled(CLOCK))
    of_one = {"pool": "default", "worker": "default@7-1"}
    outcomes = {"succeeded": 5, "failed": 3, "retried": 1, "revoked": 0, "withdrawn": 0}
    for outcome, number in outcomes.items():
        assert found["trapd_tasks_total"][of(**of_one, task="proj.add", outcome=outcome)] == number
    assert found["trapd_task_failures_total"][of(**of_one, task="proj.add", exception="KeyError")] == 2
    assert found["trapd_task_run_seconds_total"][of(**of_one, task=ODD)] == 0.25
    assert found["trapd_worker_oldest_task_start_timestamp_seconds"][of(**of_one)] == CLOCK.wall() - 90.0


def test_the_series_of_a_worker_end_with_the_worker() -> None:
    controller = settled(CLOCK)
    context = context_of(controller)
    controller.put("default", instances=(worker(CLOCK, "default@8-1"),))
    workers = {
        dict(labels)["worker"]
        for series in figures(controller, context).values()
        for labels in series
        if "worker" in dict(labels)
    }
    assert workers - {""} == {"default@8-1"}


def test_events_are_counted_from_the_start_of_trapd() -> None:
    controller = settled(CLOCK)
    controller.history.save(events=[Event(1.0, EventKind.CRASHED, "before", pool="default")])
    context = context_of(controller)
    for _ in range(2):
        controller.history.save(events=[Event(1.0, EventKind.CRASHED, "now", pool="default")] * 600)
        found = figures(controller, context)
    assert found["trapd_events_total"] == {of(kind="crashed", pool="default"): 1200}


def test_a_rollout_that_waits_for_a_person_and_each_problem_say_so_with_their_time() -> None:
    controller = settled(CLOCK)
    state = controller.pool("default").state
    for waits, paused, phase in (
        (1, False, RolloutState.WAITING),
        (1, True, RolloutState.ROLLING),
        (0, False, RolloutState.ROLLING),
    ):
        rollout = Rollout(3, "default", 8, 7, phase, "upgrade", "watch", CLOCK.wall() - 60, CLOCK.now())
        controller.put("default", state=replace(state, rollout=rollout, paused=paused))
        found = figures(controller)
        assert found["trapd_rollout_waits_for_person"] == {of(pool="default"): waits}
        assert found["trapd_rollout_start_timestamp_seconds"] == {of(pool="default"): CLOCK.wall() - 60}
    failed = replace(rollout, state=RolloutState.FAILED, ended_wall=CLOCK.wall() - 30)
    for waits, wanted, good in (
        (1, 8, (7,)),  # on_failure = "hold"
        (0, 7, (7,)),  # it was undone
        (0, 8, (7, 8)),  # it proved itself later
        (0, 8, ()),  # nothing to go back to: trapd tries on
    ):
        controller.put("default", state=replace(state, rollout=failed, wanted=wanted, good=good))
        found = figures(controller)
        assert found["trapd_rollout_waits_for_person"] == {of(pool="default"): waits}
        assert found["trapd_rollout_under_way"] == {of(pool="default"): 0}
    controller.put("default", state=state, instances=(worker(CLOCK, "default@7-1", "failed", ago=40.0),))
    since = figures(controller)["trapd_problem_start_timestamp_seconds"]
    assert since[of(kind="failed", pool="default", worker="default@7-1")] == CLOCK.wall() - 40.0
    assert of(kind="too-few-ready", pool="default", worker="") in since


def test_the_file_is_written_at_a_change_and_not_oftener_than_wanted(tmp_path: Path) -> None:
    controller = settled(CLOCK)
    context = context_of(controller)
    file = tmp_path / "trapd.prom"

    async def live() -> None:
        textfile = Textfile(lambda: context, Metrics(str(file), every=0.3))
        running = asyncio.create_task(textfile.run())
        while not file.exists():  # noqa: ASYNC110 - the file has no event
            await asyncio.sleep(0.01)
        first = file.stat()
        assert first.st_mode & 0o777 == 0o644
        await asyncio.sleep(0.5)
        assert file.stat().st_ino == first.st_ino, "nothing has changed"
        written = {file.stat().st_ino}
        begun = asyncio.get_running_loop().time()
        while (elapsed := asyncio.get_running_loop().time() - begun) < 1.0:
            controller.notify()
            await asyncio.sleep(0.01)
            written.add(file.stat().st_mtime_ns)
        assert 2 <= len(written) - 1 <= 1 + elapsed / 0.3 + 1
        textfile.settings = Metrics(str(tmp_path / "nowhere" / "trapd.prom"), every=0.1)
        while not textfile.trouble:
            controller.notify()
            await asyncio.sleep(0.01)
        assert re.fullmatch(r"cannot write \[metrics\] textfile \S+: no such file or directory", textfile.trouble)
        running.cancel()

    asyncio.run(live())
    assert 'trapd_pool_workers_ready{pool="default"} 2\n' in file.read_text()
