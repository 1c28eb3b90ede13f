"""Time that moves only when a test says so."""

from __future__ import annotations

EPOCH = 1_700_000_000.0  # what wall() says at now() == 0


class VirtualClock:
    """A contracts.Clock."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._epoch = EPOCH

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._epoch + self._now

    def move_to(self, now: float) -> None:
        assert now >= self._now, f"time goes forward: {now} < {self._now}"
        self._now = now

    def set(self, seconds: float) -> None:
        """Somebody sets the clock on the wall forward by this, or back."""
        self._epoch += seconds
