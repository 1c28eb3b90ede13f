"""Two of kombu's own producers and two takers of trapd's, as fast as they go, on one folder. A program.

Its arguments are the transport's options and the queue's name; it prints what arrived, as JSON, when 300 messages have.

In an interpreter of its own: in a fork, kombu closes the connections that it has inherited, and one to Redis that has
asked for a message (BRPOP; whoever has used remote control has such a one) waits for the answer there, for ever.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.queues import SimpleQueue
from queue import Empty
from typing import Any

from kombu import Connection
from kombu.transport import filesystem

from trapd.worker import file_broker

MESSAGES = 300


@contextlib.contextmanager
def opened(options: Mapping[str, Any], name: str, transport: type) -> Iterator[Any]:
    with (
        Connection("filesystem://", transport=transport, transport_options=dict(options)) as connection,
        contextlib.closing(connection.SimpleQueue(name)) as queue,
    ):
        yield queue


def send(options: Mapping[str, Any], name: str, numbers: range) -> None:
    with opened(options, name, filesystem.Transport) as queue:
        for number in numbers:
            queue.put({"number": number, "weight": "x" * 100_000})


def receive(options: Mapping[str, Any], name: str, received: SimpleQueue[int]) -> None:
    """Ask again and again, as fast as it goes: the aim is to ask just while a message is being written."""
    with opened(options, name, file_broker.Transport) as queue:
        while True:
            with contextlib.suppress(Empty):
                message = queue.get_nowait()
                message.ack()
                received.put(message.payload["number"])


def main(options: Mapping[str, Any], name: str) -> None:
    fork = multiprocessing.get_context("fork")
    received = fork.SimpleQueue()
    with opened(options, name, file_broker.Transport):
        pass  # so it is bound: two of kombu's own, if they are the first, empty each other's table (decision record 1)
    senders = [fork.Process(target=send, args=(options, name, range(first, MESSAGES, 2))) for first in (0, 1)]
    takers = [fork.Process(target=receive, args=(options, name, received)) for _ in range(2)]
    for process in [*takers, *senders]:
        process.start()
    try:
        print(json.dumps([received.get() for _ in range(MESSAGES)]))
    finally:
        for process in [*takers, *senders]:
            process.kill()
            process.join()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
