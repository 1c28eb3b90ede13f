"""What is carried along when a message is parked and comes back; the brokers are real in tests/process."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from trapd.worker import parking
from trapd.worker.parking import HEADER, SUFFIX, Parking, Verdict

QUEUE = SimpleNamespace(name="q", queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": 20})


class Channel:
    """Keeps what is published: (queue, message)."""

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.declared: list[dict[str, Any]] = []
        self.holds: list[Any] = []

    def queue_declare(self, **options: Any) -> tuple[str, int, int]:
        self.declared.append(options)
        return "", len(self.holds), 0

    def prepare_message(self, body: bytes, **fields: Any) -> dict[str, Any]:
        return {"body": body, **fields}

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, mandatory: bool) -> None:
        assert exchange == ""
        assert mandatory
        self.published.append((routing_key, message))

    def basic_get(self, queue: str) -> Any:
        return self.holds.pop(0) if self.holds else None

    def message_to_python(self, raw: Any) -> Any:
        return raw


def received(headers: dict[str, Any], **properties: Any) -> Any:
    message = SimpleNamespace(
        body=b"[]",
        content_type="application/json",
        content_encoding="utf-8",
        headers=headers,
        properties={"delivery_mode": 1, "correlation_id": "c", "reply_to": "r", "priority": 4, **properties},
        delivery_info={"exchange": "", "routing_key": "q", "redelivered": False},
        errors=[],
        acknowledged=False,
    )
    message.ack = lambda: setattr(message, "acknowledged", True)
    return message


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def lot(channel: Channel) -> Parking:
    lot = Parking(None)
    lot._channel = channel
    lot._connection = SimpleNamespace(transport=SimpleNamespace(driver_type="amqp"), channel_errors=(OSError,))
    return lot


def test_headers_and_properties_are_kept_and_it_is_persistent_and_does_not_expire(
    lot: Parking, channel: Channel
) -> None:
    message = received({"id": "a", "task": "t", "trace": "x"}, expiration="5000", user_id="guest")
    lot.park(message, QUEUE, "a", "t")
    [(queue, parked)] = channel.published
    mark = parked["headers"].pop(HEADER)
    assert queue == "q" + SUFFIX
    assert parked["headers"] == {"id": "a", "task": "t", "trace": "x"}
    assert parked["properties"] == {"correlation_id": "c", "reply_to": "r", "delivery_mode": 2}
    assert parked["priority"] == 4
    assert (mark["id"], mark["task"], mark["routing_key"], mark["expiration"]) == ("a", "t", "q", "5000")
    assert not message.acknowledged  # by whom it was received


def test_what_the_broker_counts_and_kombu_unpacks_is_not_carried(lot: Parking, channel: Channel) -> None:
    lot.park(received({"id": "a", "x-delivery-count": 7, "compression": "application/x-gzip"}), QUEUE, "a", "t")
    assert {*channel.published[0][1]["headers"]} == {"id", HEADER}


def test_a_time_to_live_goes_on_while_it_is_parked(lot: Parking, channel: Channel) -> None:
    mark = {"id": "a", "task": "t", "token": "1", "since": time.time() - 3.0, "expiration": "5000", "exchange": ""}
    channel.holds = [received({"id": "a", HEADER: mark}), received({"id": "b", HEADER: mark | {"since": 0.0}})]
    assert lot.walk(QUEUE, lambda mark: Verdict.BACK, 2, 5.0) == 2
    (queue, back), (_, late) = channel.published
    assert queue == "q"
    assert back["headers"] == {"id": "a"}
    assert 1900 < int(back["properties"]["expiration"]) <= 2000
    assert late["properties"]["expiration"] == "1"


def test_the_parking_queue_is_of_the_kind_of_its_queue_and_has_no_limit(lot: Parking, channel: Channel) -> None:
    assert lot.waiting(QUEUE) == 0
    [declared] = channel.declared
    assert declared["arguments"] == {"x-queue-type": "quorum"}
    assert declared["durable"]
    assert not declared["auto_delete"]
    lot.waiting(QUEUE)
    assert channel.declared[1] == {"queue": "q" + SUFFIX, "passive": True}


def test_it_is_acknowledged_only_once_its_copy_is_published(lot: Parking, channel: Channel) -> None:
    mark = {"id": "a", "task": "t", "token": "1", "since": 0.0}
    message = received({"id": "a", HEADER: mark})
    channel.holds = [message]

    def refused(*arguments: Any, **options: Any) -> None:
        raise OSError("no broker")

    channel.basic_publish = refused  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no broker"):
        lot.walk(QUEUE, lambda mark: Verdict.BACK, 1, 5.0)
    assert not message.acknowledged


def test_one_that_stays_is_not_taken_for_its_own_double_when_it_comes_round(lot: Parking, channel: Channel) -> None:
    mark = {"id": "a", "task": "t", "token": "1", "since": 0.0, "redelivered": True}
    channel.holds = [received({HEADER: mark}), received({HEADER: mark})]
    lot.walk(QUEUE, lambda mark: Verdict.STAYS, 2, 5.0)
    assert [queue for queue, _ in channel.published] == ["q" + SUFFIX] * 2


def test_what_somebody_else_put_there_goes_to_the_queue_as_it_is(lot: Parking, channel: Channel) -> None:
    channel.holds = [received({"id": "a"})]
    assert lot.walk(QUEUE, lambda mark: Verdict.STAYS, 1, 5.0) == 1
    assert channel.published[0][0] == "q"


def test_the_route_is_restored_only_where_it_was_another() -> None:
    message = received({"id": "a", HEADER: {"exchange": "sky", "routing_key": "sky.north"}})
    parking.restore_route(message)
    assert message.delivery_info == {"exchange": "sky", "routing_key": "sky.north", "redelivered": False}
    plain = received({"id": "a"})
    parking.restore_route(plain)
    assert plain.delivery_info["routing_key"] == "q"
