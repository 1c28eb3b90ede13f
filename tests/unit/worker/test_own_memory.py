"""A main process that has more memory than it may have says so, and takes it back."""

from __future__ import annotations

import pytest

from trapd.backend.words import ailment
from trapd.model import Ailment
from trapd.worker import own_memory
from trapd.worker.health import Health, Phase
from trapd.worker.own_memory import OwnMemory
from trapd.worker.standing import Standing

MIB = 1 << 20


def test_it_is_told_once_it_is_over_the_limit_and_until_it_is_well_below(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"now": 500 * MIB}
    monkeypatch.setattr(own_memory, "EVERY", 0.0)
    memory = OwnMemory(512 * MIB, lambda: sizes["now"])
    health = Health(lambda: (0, 0), 60.0, 100.0)
    health.enter(Phase.CONNECTING, 100.0)
    health.enter(Phase.READY, 100.0)

    def status() -> str:
        memory.look(health)
        return health.message(100.5, lambda: Standing("", ""))["STATUS"]

    assert ailment(status()) is None
    sizes["now"] = 612 * MIB
    assert status() == "ready, 0 active, its main process has 612 MiB, more than max_memory = 512 MiB"
    sizes["now"] = 500 * MIB
    assert ailment(status()) is Ailment.OUTGROWN
    sizes["now"] = 400 * MIB
    assert ailment(status()) is None


def test_without_a_limit_nothing_is_read() -> None:
    def size() -> int:
        raise AssertionError("it was read")

    OwnMemory(None, size).look(Health(lambda: (0, 0), 60.0, 100.0))


def test_the_kernel_tells_the_size_of_this_process() -> None:
    assert own_memory.resident() > 10 * MIB
