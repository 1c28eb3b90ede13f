"""Whom a thread waits for, as its stack says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import cast

import pytest
from greenlet import greenlet

from trapd.worker.standing import BROKER, RESULTS, MainThread, Standing, in_pool, waits_for

CALL = "import sys\ndef call(inner):\n    return inner() if inner else sys._getframe()\n"


def stack(*modules: str) -> FrameType:
    """The innermost frame of functions of these modules, the innermost module last."""
    inner: Callable[[], object] | None = None
    for module in reversed(modules):
        names: dict[str, object] = {"__name__": module}
        exec(CALL, names)
        inner = partial(cast("Callable[..., object]", names["call"]), inner)
    assert inner is not None
    frame = inner()
    assert isinstance(frame, FrameType)
    return frame


LOOP = ("celery.worker.loops", "kombu.asynchronous.hub")
# As seen with all packets to the broker dropped: kombu 5.7, redis-py 8.1, py-amqp 5.4.
REDIS_READ = (*LOOP, "kombu.transport.redis", "redis.client", "redis._parsers.socket")
REDIS_AGAIN = (*LOOP, "celery.worker.heartbeat", "kombu.messaging", "kombu.connection", "kombu.utils.functional")
AMQP_CONNECT = ("celery.worker.consumer.connection", "kombu.connection", "kombu.transport.pyamqp", "amqp.transport")


@pytest.mark.parametrize("modules", [REDIS_READ, REDIS_AGAIN, AMQP_CONNECT, (*LOOP, "kombu.transport.SQS", "botocore")])
def test_a_broker_is_waited_for_in_the_transport_whatever_client_library_is_below(modules: tuple[str, ...]) -> None:
    assert waits_for(stack(*modules)) == BROKER


def test_whoever_asks_the_broker_by_an_amqp_channel_waits_for_it() -> None:
    assert waits_for(stack(*LOOP, "trapd.worker.parking", "amqp.channel", "amqp.transport")) == BROKER


def test_results_are_waited_for_in_their_backend() -> None:
    assert waits_for(stack(*LOOP, "celery.worker.request", "celery.backends.redis", "redis.client")) == RESULTS


@pytest.mark.parametrize(
    "modules",
    [
        LOOP,
        (*LOOP, "kombu.transport.redis", "kombu.messaging", "kombu.pidbox", "naps.jobs"),
        (*LOOP, "kombu.transport.redis", "kombu.messaging", "celery.worker.control", "naps.jobs", "redis.client"),
        ("celery.worker.loops", "celery.utils.dispatch.signal", "naps.jobs", "socket"),
    ],
)
def test_the_loop_itself_and_what_an_application_does_in_it_are_no_wait(modules: tuple[str, ...]) -> None:
    assert waits_for(stack(*modules)) == ""


# As seen in drains of Celery 5.7.
STOPS = ("celery.worker", "celery.bootsteps", "celery.concurrency.base")
IN_POOLS = {
    "prefork": (*STOPS, "celery.concurrency.prefork", "billiard.pool", "celery.concurrency.asynpool"),
    "prefork, without a hub": (*STOPS, "celery.concurrency.prefork", "billiard.pool", "threading"),
    "threads": (*STOPS, "celery.concurrency.thread", "concurrent.futures.thread", "threading"),
    "gevent": (*STOPS, "celery.concurrency.gevent", "gevent.pool"),
    "eventlet": (*STOPS, "celery.concurrency.eventlet", "eventlet.greenpool", "eventlet.event", "eventlet.hubs.hub"),
}


@pytest.mark.parametrize("modules", IN_POOLS.values(), ids=IN_POOLS)
def test_who_waits_in_a_pool_is_known_and_what_an_application_does_there_is_none(modules: tuple[str, ...]) -> None:
    assert in_pool(stack(*modules))
    assert not in_pool(stack(*modules, "naps.jobs"))
    assert not in_pool(stack(*modules, "naps.jobs", "threading"))
    assert not in_pool(stack(*LOOP, "celery.worker.request"))
    assert not in_pool(None)


def test_a_thread_that_computes_waits_for_nobody() -> None:
    names: dict[str, object] = {"__name__": "kombu.transport.redis"}
    exec("def spin(over):\n    while not over(): pass\n", names)
    main, seen = MainThread(), list[Standing]()

    def look() -> None:
        while len(seen) < 20:
            seen.append(main.look())

    thread = threading.Thread(target=look)
    thread.start()
    names["spin"](lambda: len(seen) >= 20)  # type: ignore[operator]
    thread.join()
    assert all(standing.waits_for == "" for standing in seen[1:-1])


def test_of_greenlets_the_one_that_is_followed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, and whoever looks, share one thread."""
    names: dict[str, object] = {"__name__": "kombu.transport.redis"}
    exec("def wait(back): back()\n", names)
    main = MainThread()

    def consume() -> None:
        main.follow_greenlet()
        names["wait"](outer.switch)  # type: ignore[operator]

    outer = greenlet.getcurrent()
    one = greenlet(consume)
    one.switch()
    assert main.look().waits_for == BROKER
    one.switch()


@pytest.fixture(autouse=True)
def names_of_threads_stay() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before
