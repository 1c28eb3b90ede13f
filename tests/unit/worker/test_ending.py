"""Why Celery's worker ended, in words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from amqp.exceptions import PreconditionFailed, ResourceLocked
from kombu.exceptions import OperationalError

from trapd.worker.ending import Ending, explain, watch

# As RabbitMQ 3.10.8 says it.
HELD = (
    "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1800000 ms. This "
    "timeout value can be configured, see consumers doc guide to learn more"
)


def test_a_message_that_was_held_too_long_is_the_brokers_doing() -> None:
    ending = explain(PreconditionFailed(HELD, (0, 0), 406), (ConnectionError,))
    assert ending.kind == "broker"
    assert ending.summary == (
        "RabbitMQ closed its channel (PRECONDITION_FAILED): what it ran or held in reserve was not acknowledged within "
        "consumer_timeout = 1800 s"
    )


def test_a_queue_that_is_declared_otherwise_may_well_be_the_codes_doing() -> None:
    ending = explain(PreconditionFailed("PRECONDITION_FAILED - inequivalent arg 'x-max-priority'", (50, 10), 406), ())
    assert ending.kind == "crash"
    assert ending.summary.startswith("Celery gave up: PreconditionFailed: ")


@pytest.mark.parametrize("error", [ConnectionResetError("reset\nby peer"), OperationalError("no route")])
def test_a_broker_that_is_lost_is_named(error: Exception) -> None:
    ending = explain(error, (OperationalError, ConnectionError))
    assert ending.kind == "crash"
    assert ending.summary == f"lost its broker: {type(error).__name__}: {' '.join(str(error).split())}"


def worker(error: BaseException, cause: BaseException | None = None) -> SimpleNamespace:
    def start(parent: object) -> None:
        raise error from cause

    return SimpleNamespace(blueprint=SimpleNamespace(start=start), consumer=SimpleNamespace(connection_errors=()))


def noted(error: BaseException, cause: BaseException | None = None) -> list[Ending]:
    found: list[Ending] = []
    one = worker(error, cause)
    watch(one, found.append)
    with pytest.raises(type(error)):
        one.blueprint.start(one)
    return found


def test_what_ends_a_worker_is_noted_and_goes_on_to_celery() -> None:
    assert [ending.summary for ending in noted(ResourceLocked("locked", (50, 10), 405))] == [
        "Celery gave up: ResourceLocked: 405: (405) locked"
    ]


def test_an_ordinary_end_is_none_but_celery_giving_up_is() -> None:
    assert noted(SystemExit(0)) == []
    assert [ending.kind for ending in noted(SystemExit(1), ConnectionError("away"))] == ["crash"]
