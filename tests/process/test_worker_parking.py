"""Tasks that a worker does not know wait in a parking queue: on each broker, and RabbitMQ's quorum queues too."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kombu import Message, Queue

from tests.conftest import make_broker
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import Instance, InstanceId
from trapd.spec import PoolSpec
from trapd.worker.parking import SUFFIX, Parking, Verdict

pytestmark = client_warnings

NEWER = InstanceId("default", 8, 1)
# What RabbitMQ 4 does to every quorum queue by itself; 3.10 has to be told.
QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 20}
FULL = {"x-max-length": 0, "x-overflow": "reject-publish"}
NEW = """
@app.task(bind=True)
def new(self, path):
    headers = {"trace": self.request.get("trace"), "hop": self.request.get("hop")}
    info = self.request.delivery_info
    with open(path, "a") as file:
        file.write(self.request.id + "\\n")
    return headers, self.request.correlation_id, self.request.reply_to, info
"""


@dataclass
class Place:
    """A worker that knows no task ``new`` and one of a newer generation that does, on one queue with prefetch 1."""

    lab: WorkerLab
    queue: Queue

    def parked(self) -> int:
        lot = Parking(self.lab.client)
        try:
            return lot.waiting(self.queue)
        finally:
            lot.close()

    async def parks(self, count: int) -> None:
        await asyncio.to_thread(wait, lambda: self.parked() == count)

    def walk(self, judge: Callable[[Any], Verdict] = lambda mark: Verdict.STAYS) -> list[Any]:
        """As another worker would; the marks that it met."""
        lot, met = Parking(self.lab.client), list[Any]()

        def meet(mark: Any) -> Verdict:
            met.append(mark)
            return judge(mark)

        try:
            lot.walk(self.queue, meet, lot.waiting(self.queue), 5.0)
        finally:
            lot.close()
        return met


def place(directory: Path, request: pytest.FixtureRequest, kind: str, limit: int = 20, more: str = "") -> Place:
    broker = make_broker("rabbitmq" if kind == "quorum" else kind, request)
    quorum = QUORUM | {"x-delivery-limit": limit}
    queue: Any = Queue(broker.queue, queue_arguments=quorum) if kind == "quorum" else Queue(broker.queue)
    config = (
        "from kombu import Queue\n"
        f"task_queues = [Queue({broker.queue!r}, queue_arguments={queue.queue_arguments!r})]\n"
        f"worker_prefetch_multiplier = 1\n{more}"
    )
    lab = WorkerLab(directory, broker, celeryconfig=config, spec=PoolSpec("default", concurrency=1))
    lab.client.conf.task_queues = [queue]
    lab.generation(8)
    jobs = lab.generations / "8/code/naps/jobs.py"
    jobs.write_text(f"{jobs.read_text()}\n\n{NEW}")
    return Place(lab, queue)


KINDS = pytest.mark.parametrize("kind", ["rabbitmq", "quorum", "redis", "embedded"])


@KINDS
async def test_new_tasks_wait_for_a_worker_that_knows_them_and_keep_nobody_from_working(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """More looks than a quorum queue grants deliveries; prefetch 1, so that one held message would take all room."""
    here = place(short_path, request, kind)
    lab, ledger = here.lab, short_path / "ledger"
    options: dict[str, Any] = {"headers": {"trace": "abc", "hop": 3}, "priority": 4, "expires": 3600}

    async with lab:
        await lab.start()
        sent = [await lab.send("new", str(ledger), **options) for _ in range(3)]
        for _ in range(10):
            assert await lab.call("nap", 0)
        await here.parks(3)
        for _ in range(25):
            await asyncio.to_thread(wait, lambda: len(here.walk()) == 3)  # the worker's own look may hold one
        assert await lab.call("nap", 0)
        await lab.start(NEWER)
        for result in sent:
            headers, correlation, reply_to, info = await lab.result(result)
            assert headers == {"trace": "abc", "hop": 3}
            assert correlation == result.id
            assert reply_to
            assert (info["exchange"], info["routing_key"], info["priority"]) == ("", here.queue.name, 4)
        await lab.drain()  # the old one may have met them once more
        await here.parks(0)
        assert sorted(ledger.read_text().split()) == sorted(result.id for result in sent)  # each once


@KINDS
async def test_what_is_parked_when_all_new_workers_are_up_does_not_wait_for_another_start(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    here = place(short_path, request, kind)

    async with here.lab:
        await here.lab.start(NEWER)
        await here.lab.start()
        sent = [await here.lab.send("new", str(short_path / "ledger")) for _ in range(6)]
        for result in sent:
            await here.lab.result(result)
        assert "parked in" in here.lab.told()  # the old one has met some of them


IMPATIENT = (
    "from trapd.worker import unknown\nunknown.PATIENCE = unknown.PATIENCE_WHEN_OLD = unknown.LOOK_RARELY = 1.0\n"
)


@KINDS
async def test_a_task_that_nobody_knows_stays_parked_and_is_reported_until_a_worker_knows_it(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    here = place(short_path, request, kind, more=IMPATIENT)
    lab, ledger = here.lab, short_path / "ledger"

    def told(seen: Mapping[InstanceId, Instance], who: InstanceId) -> list[tuple[str, str, int]]:
        report = seen[who].report
        return [(one.task, one.queue, one.messages) for one in report.aside] if report else []

    async with lab:
        await lab.start()
        sent = [await lab.send("new", str(ledger)) for _ in range(2)]
        expected = [("naps.jobs.new", here.queue.name + SUFFIX, 2)]
        await lab.until(lambda seen: told(seen, ONE) == expected)
        assert "Received unregistered task" not in lab.told()
        assert "2 messages set aside" in {i.id: i for i in await lab.backend.observe()}[ONE].status
        await lab.start(NEWER)
        for result in sent:
            await lab.result(result)
        await lab.until(lambda seen: not told(seen, ONE))
        await here.parks(0)
        assert sorted(ledger.read_text().split()) == sorted(result.id for result in sent)  # each once


async def test_the_route_of_a_message_is_what_it_was_when_it_comes_back(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    broker = make_broker("rabbitmq", request)
    exchange = f"{broker.queue}-topics"
    spelled = f"Queue({broker.queue!r}, Exchange({exchange!r}, 'topic'), routing_key='sky.#')"
    config = f"from kombu import Exchange, Queue\ntask_queues = [{spelled}]\n"
    lab = WorkerLab(short_path, broker, celeryconfig=config)
    lab.generation(8)
    jobs = lab.generations / "8/code/naps/jobs.py"
    jobs.write_text(f"{jobs.read_text()}\n\n{NEW}")

    async with lab:
        await lab.start()
        sent = await lab.send("new", str(short_path / "ledger"), exchange=exchange, routing_key="sky.north")
        await asyncio.to_thread(wait, lambda: "parked in" in lab.told())
        await lab.drain()
        await lab.start(NEWER)
        *_, info = await lab.result(sent)
        assert (info["exchange"], info["routing_key"]) == (exchange, "sky.north")


def test_a_message_that_was_parked_twice_because_its_worker_was_killed_comes_back_once(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    """Killed between the confirmation and the acknowledgement: the broker delivers it anew, and it is parked again."""
    here = place(short_path, request, "quorum")
    park(here, redelivered=False)
    park(here, redelivered=True)
    wait(lambda: here.parked() == 2)
    assert len(here.walk(lambda mark: Verdict.BACK)) == 1
    wait(lambda: here.parked() == 0)


@pytest.mark.parametrize("kind", ["rabbitmq", "quorum"])
@pytest.mark.parametrize("verdict", [Verdict.STAYS, Verdict.BACK])
def test_a_look_that_broke_off_before_the_acknowledgement_leaves_no_second_message(
    short_path: Path, request: pytest.FixtureRequest, kind: str, verdict: Verdict
) -> None:
    """Its connection was lost after the copy was confirmed: both are in the queue, and the next look finds them."""
    here = place(short_path, request, kind)
    park(here)
    wait(lambda: here.parked() == 1)
    lot = Parking(here.lab.client)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Message, "ack", break_off)
        with pytest.raises(ConnectionError):
            lot.walk(here.queue, lambda mark: Verdict.STAYS, lot.waiting(here.queue), 5.0)
    lot.close()
    wait(lambda: here.parked() == 2)
    assert len(here.walk(lambda mark: verdict)) == 1
    wait(lambda: here.parked() == (verdict is Verdict.STAYS))  # a quorum queue tells its length late


def break_off(message: Message) -> None:
    raise ConnectionError


@pytest.mark.parametrize("kind", ["rabbitmq", "redis", "embedded"])
def test_what_a_look_held_when_it_failed_is_there_again_at_once(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Not when the garbage collector happens to close the connection, or after Redis's visibility_timeout."""
    here = place(short_path, request, kind)

    def fail(mark: Any) -> Verdict:
        raise ValueError(mark["id"])

    park(here)
    wait(lambda: here.parked() == 1)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="twin"):
            here.walk(fail)
        wait(lambda: here.parked() == 1)
    finally:
        gc.enable()


def park(here: Place, *, redelivered: bool = False) -> None:
    """A message that was in the queue, as a worker would that does not know its task."""
    lot, got = Parking(here.lab.client), list[Any]()
    with here.lab.client.connection_for_read() as connection:
        channel = connection.channel()
        headers = {"id": "twin", "task": "naps.jobs.new"}
        raw = channel.prepare_message(b"[[], {}, {}]", content_type="application/json", headers=headers)
        here.queue(channel).declare()
        channel.basic_publish(raw, exchange="", routing_key=here.queue.name)

        def there() -> bool:
            got.append(channel.basic_get(here.queue.name))
            return got[-1] is not None

        wait(there)
        message = channel.message_to_python(got[-1])
        message.delivery_info["redelivered"] = redelivered
        lot.park(message, here.queue, "twin", "naps.jobs.new")
        message.ack()
    lot.close()


@pytest.mark.parametrize(
    "obstacle", [{"exclusive": True}, {"auto_delete": False, "arguments": FULL}], ids=["somebody else's", "full"]
)
async def test_where_nothing_can_be_parked_it_is_handed_back(
    short_path: Path, request: pytest.FixtureRequest, obstacle: dict[str, Any]
) -> None:
    """The name of the parking queue is taken by one that is not ours to use, or that refuses what is published."""
    here = place(short_path, request, "rabbitmq")

    async with here.lab:
        with here.lab.client.connection_for_read() as connection:
            channel = connection.channel()
            channel.queue_declare(here.queue.name + SUFFIX, **obstacle)
            await here.lab.start()
            sent = await here.lab.send("new", str(short_path / "ledger"))
            await here.lab.call("nap", 0)
            await asyncio.to_thread(wait, lambda: "handed back" in here.lab.told())
            await here.lab.start(NEWER)
            await here.lab.drain()
            await here.lab.result(sent)
