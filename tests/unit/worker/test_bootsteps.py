"""What the consumer's steps tell of its connection, without any broker."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery.bootsteps import CLOSE, RUN

from trapd.worker.abstention import Abstention
from trapd.worker.bootsteps import _stamping
from trapd.worker.health import Health, Phase, Reporter
from trapd.worker.standing import Standing

TIMER = SimpleNamespace(call_repeatedly=lambda every, do: do, cancel=lambda entry: None)


@pytest.fixture
def reporter() -> Reporter:
    health = Health(lambda: (0, 0), 60.0, time.monotonic())
    reporter = Reporter(health, lambda fields: True, lambda health: None)
    reporter.enter(Phase.CONNECTING)
    return reporter


def consumer(state: int = RUN) -> Any:
    return SimpleNamespace(hub=object(), timer=TIMER, blueprint=SimpleNamespace(state=state))


def test_until_celery_says_ready_a_lost_connection_is_still_the_first_one(reporter: Reporter) -> None:
    step = _stamping(reporter, Abstention())(consumer())
    for _ in range(2):
        step.start(consumer())
        assert reporter.health.phase is Phase.CONNECTING
        step.stop(consumer())
        assert reporter.health.phase is Phase.CONNECTING
    step.start(consumer())
    reporter.enter(Phase.READY)  # as worker_ready does
    assert reporter.health.message(time.monotonic(), lambda: Standing("", ""))["READY"] == "1"


def test_after_that_it_is_ready_again_as_soon_as_it_is_connected(reporter: Reporter) -> None:
    step = _stamping(reporter, Abstention())(consumer())
    step.start(consumer())
    reporter.enter(Phase.READY)
    step.stop(consumer())
    assert reporter.health.phase is Phase.RECONNECTING
    step.start(consumer())
    assert reporter.health.phase is Phase.READY
    step.stop(consumer(CLOSE))
    assert reporter.health.phase is Phase.DRAINING
