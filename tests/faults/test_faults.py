"""Whatever is done to trapd, its workers, their broker and their places: no task is lost, none runs twice, and all is
as it was afterwards.

A run prints its seed; ``TRAPD_SEED`` names one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.life import Life, a_broker
from tests.support.repetitions import times

pytestmark = [pytest.mark.long, pytest.mark.timeout(times(900, 6 * 3600))]

COUNTS = {"rabbitmq": (6, 300), "redis": (3, 300)}  # few faults on Redis are of another kind than on RabbitMQ
ALWAYS = {  # of which no other test does each; the others are chosen by chance
    "rabbitmq": ("the broker restarts", "connections are cut", "memory alarm"),
    "redis": ("the broker pauses",),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_nothing_is_lost_or_run_twice_whatever_is_done(
    kind: str,
    short_path: Path,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> None:
    seed = int(os.environ.get("TRAPD_SEED") or random.randrange(2**32))
    print(f"TRAPD_SEED={seed} chooses the same faults and moments again")
    chance = random.Random(seed)
    count = times(*COUNTS[kind])
    record_property("times", count)
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("environments")
    possible = [fault for fault in FAULTS if kind in fault.brokers]
    chosen = [fault for name in ALWAYS[kind] for fault in possible if fault.name == name]
    assert len(chosen) == len(ALWAYS[kind])
    chosen += [fault for _ in range(1 + count // len(possible)) for fault in chance.sample(possible, len(possible))]
    with ExitStack() as stack:
        broker, server = a_broker(kind, tmp_path, stack)
        life = stack.enter_context(Life(short_path, kept, broker, server, chance))
        for fault in chosen[:count]:
            print(fault.name)
            fault.do(life)
            life.recovers()
