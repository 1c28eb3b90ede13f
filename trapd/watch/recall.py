"""What looks have read, so that the next one need not."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recall(Generic[K, V]):
    """Values under keys. A look that comes to its end forgets what it did not ask for.

    One that breaks off forgets nothing: while an installer is at work hardly anything is asked for, and the look after
    its end would have to read the whole environment again, as at the start of trapd.
    """

    def __init__(self) -> None:
        self._before: dict[K, V] = {}
        self._now: dict[K, V] = {}

    def begin(self) -> None:
        """Begin a look. What came before is ``earlier`` from now on."""
        self._before |= self._now
        self._now = {}

    def end(self) -> None:
        """Forget what nobody has set since ``begin``."""
        self._before = {}

    def clear(self) -> None:
        """Forget everything."""
        self._before, self._now = {}, {}

    def now(self, key: K) -> V | None:
        """Return what was set in this look."""
        return self._now.get(key)

    def earlier(self, key: K) -> V | None:
        """Return what was set in a look before."""
        return self._before.get(key)

    def set(self, key: K, value: V) -> None:
        """Remember it, or that it is still so."""
        self._now[key] = value
