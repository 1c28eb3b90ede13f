"""The memory of a machine in virtual time, counted in workers: each of FakeBackend's uses MEBIBYTE."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.fake_backend import MEBIBYTE, FakeBackend

PLENTY = 1_000_000


@dataclass
class FakeGauge:
    """Keeps M1. ``capacity``: workers of all pools for which there is memory; None: the kernel does not tell it."""

    backend: FakeBackend
    capacity: int | None = PLENTY
    asked: int = 0  # how often

    async def free(self, process: int) -> int | None:
        self.asked += 1
        return None if self.capacity is None else self.left() * MEBIBYTE

    def left(self) -> int:
        """For how many more workers there is memory."""
        running = sum(instance.pid is not None for instance in self.backend.seen())
        return PLENTY if self.capacity is None else max(0, self.capacity - running)
