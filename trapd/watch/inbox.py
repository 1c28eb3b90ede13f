"""Carries events from watchdog's threads to the loop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from trapd.contracts import Clock


@dataclass(frozen=True, slots=True)
class News:
    """What was heard since the last time: the first path, and the time of the last event."""

    path: str = ""  # empty: no path was told
    at: float = 0.0
    metadata: bool = False  # an installer's metadata is among what changed
    overflow: bool = False  # events were lost, of any path


class Inbox:
    """Many events become one piece of news."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._news: News | None = None
        self._deliver: Callable[[], object] = lambda: None

    def deliver(self, deliver: Callable[[], object]) -> None:
        """``deliver`` is called in some thread when there is something to ``take``."""
        self._deliver = deliver

    def put(self, path: str) -> None:
        """Called in watchdog's thread."""
        self._put(path, metadata=path.endswith(".dist-info"))

    def overflow(self) -> None:
        """Called in watchdog's thread, when events were lost."""
        self._put("", overflow=True)

    def _put(self, path: str, *, metadata: bool = False, overflow: bool = False) -> None:
        with self._lock:
            waiting = self._news is not None
            news = self._news or News()
            metadata, overflow = metadata or news.metadata, overflow or news.overflow
            self._news = replace(
                news, path=news.path or path, at=self._clock.now(), metadata=metadata, overflow=overflow
            )
        if not waiting:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._deliver()

    def take(self) -> News:
        with self._lock:
            news, self._news = self._news or News(), None
            return news
