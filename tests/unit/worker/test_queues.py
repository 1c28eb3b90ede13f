"""From which queue a message came, without asking the broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trapd.worker.queues import Queues, consumed


def queue(name: str, exchange: str = "", key: str = "") -> Any:
    return SimpleNamespace(name=name, exchange=SimpleNamespace(name=exchange), routing_key=key)


def consumer(*queues: Any) -> Any:
    tags = {queue.name: f"tag-{queue.name}" for queue in queues}
    return SimpleNamespace(queues=list(queues), _active_tags=tags)


RED, BLUE = queue("red", "red", "red"), queue("blue", "work", "sky")


@pytest.mark.parametrize(
    ("info", "found"),
    [
        ({"consumer_tag": "tag-red", "exchange": "work", "routing_key": "sky"}, "red"),
        ({"exchange": "work", "routing_key": "sky"}, "blue"),
        ({"exchange": "", "routing_key": "red"}, "red"),
        ({"exchange": "other", "routing_key": "x"}, None),
        (None, None),
    ],
)
def test_a_tag_or_the_route_tells_it(info: dict[str, str] | None, found: str | None) -> None:
    queues = Queues()
    queues.follow(consumer(RED, BLUE))
    queues.follow(None)  # it drains
    assert queues.of(SimpleNamespace(delivery_info=info)) == found


def test_where_only_one_queue_is_consumed_it_is_that() -> None:
    queues = Queues()
    queues.follow(consumer(RED))
    assert queues.of(SimpleNamespace(delivery_info={"exchange": "topics", "routing_key": "a.b"})) == "red"


def test_a_queue_that_is_consumed_later_is_known_with_the_next_message() -> None:
    queues, following = Queues(), consumer(RED)
    queues.follow(following)
    following.queues.append(BLUE)
    following._active_tags["blue"] = "tag-blue"
    queues.follow(following)
    assert queues.of(SimpleNamespace(delivery_info={"consumer_tag": "tag-blue"})) == "blue"


def test_consumed_are_those_with_a_tag() -> None:
    worker = SimpleNamespace(consumer=SimpleNamespace(task_consumer=consumer(RED, BLUE)))
    assert consumed(worker) == ["blue", "red"]
    worker.consumer.task_consumer = None
    assert consumed(worker) == consumed(SimpleNamespace(consumer=None)) == consumed(None) == []
