"""Problems of workers that look well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_controller import about, settled, worker
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd.control.incidents import problems
from trapd.control.needs import Context
from trapd.model import Failure, FailureKind, Instance, InstanceState, RemoteCommand, SetAside
from trapd.rollout.set_aside import merged, news
from trapd.worker.ending import explain
from trapd.worker.health import Health, Phase
from trapd.worker.standing import Standing

CLOCK = VirtualClock()


def said(instance: Instance) -> list[str]:
    controller = settled(CLOCK)
    controller.put("default", instances=(instance,))
    context = Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS)
    return [problem.text for problem in problems(context, controller.pool("default"))]


def taken_back(ago: float, kind: FailureKind = FailureKind.BROKER) -> Instance:
    words = explain(RuntimeError("delivery acknowledgement on channel 1 timed out. Timeout value used: 60000 ms."), ())
    return worker(CLOCK, "default@7-1", failure=Failure(kind, words.summary, "", CLOCK.now() - ago))


def test_what_rabbitmq_took_back_is_a_problem_until_a_repetition_would_have_come() -> None:
    (problem,) = said(taken_back(70))
    assert problem.startswith("RabbitMQ took back what default@7-1 ran or held in reserve for longer than consumer_tim")
    assert "(1m00s), 1m10s ago (PRECONDITION_FAILED)" in problem
    assert said(taken_back(250)) == []
    assert said(taken_back(70, FailureKind.CRASH)) == []


@pytest.mark.parametrize("written", ["2000000", "2e+06"])  # the second by workers of an earlier trapd
def test_a_consumer_timeout_of_weeks_is_read_as_such(written: str) -> None:
    words = explain(
        RuntimeError("delivery acknowledgement on channel 1 timed out. Timeout value used: 2000000000 ms"), ()
    )
    assert words.summary.endswith("consumer_timeout = 2000000 s")
    failure = Failure(FailureKind.BROKER, words.summary.replace("2000000", written), "", CLOCK.now() - 70)
    (problem,) = said(worker(CLOCK, "default@7-1", failure=failure))
    assert "(23d3h)" in problem


def aside(name: str, messages: int, queue: str = "celery.trapd-parked", **more: Any) -> Instance:
    instance = worker(CLOCK, name, **more)
    assert instance.report is not None
    told = SetAside("proj.gone", queue, messages, CLOCK.wall() - 300)
    return replace(instance, report=replace(instance.report, aside=(told,)))


def test_messages_that_no_worker_knows_are_a_problem_with_name_count_and_remedy() -> None:
    assert said(aside("default@7-1", 12)) == [
        "12 messages of task proj.gone in celery.trapd-parked: no worker knows the task, for 5m00s; install code that "
        "has the task, or drop them: trapctl celery purge -Q celery.trapd-parked"
    ]
    assert said(aside("default@7-1", 1, queue="")) == [
        "1 message of task proj.gone discarded: no worker knows the task, and there is no parking queue, for 5m00s"
    ]
    assert said(aside("default@7-1", 1, state="draining")) == []


def test_workers_that_look_into_one_queue_tell_of_the_same_messages() -> None:
    two = [aside("default@7-1", 3), aside("default@7-2", 5)]
    assert [one.messages for one in merged(two)] == [5]
    assert [one.messages for one in merged([aside("default@7-1", 3, ""), aside("default@7-2", 5, "")])] == [8]
    view = settled(CLOCK).pool("default")
    before, after = replace(view, instances=(two[0],)), replace(view, instances=tuple(two))
    [event] = news(view, before)
    assert event.reason == "3 messages of task proj.gone in celery.trapd-parked: no worker knows the task"
    assert list(news(before, after)) == []


def test_remote_commands_stand_with_their_age() -> None:
    one = worker(CLOCK, "default@7-1")
    assert one.report is not None
    told = RemoteCommand("cancel_consumer('celery')", CLOCK.wall() - 300)
    assert said(replace(one, report=replace(one.report, remote=(told,)))) == [
        "default@7-1: cancel_consumer('celery') by remote control 5m00s ago"
    ]


@pytest.mark.parametrize("why", ["shutdown by remote control", "lost its broker: ConnectionError: away"])
def test_a_worker_that_leaves_by_itself_says_why_while_its_tasks_end(why: str) -> None:
    health = Health(lambda: (1, 1), 60.0, 0.0)
    health.because = why
    health.enter(Phase.DRAINING, 1.0)
    status = health.message(2.0, lambda: Standing("", ""))["STATUS"]
    leaving = worker(CLOCK, "default@7-1", state=InstanceState.DRAINING, status=status)
    assert said(leaving) == [f"default@7-1 leaves when its tasks have ended: {why}"]
