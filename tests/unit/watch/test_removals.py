"""Removed sockets are noticed from ``arm`` to ``close``, and not after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trapd.watch import removals
from trapd.watch.places import Places


def test_an_observer_that_starts_while_the_watch_ends_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """trapd that failed in its first moments left one, whose thread called a loop that was closed."""
    begun, go_on, stopped = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def __init__(self, notify: Callable[[str], None]) -> None:
            begun.set()
            go_on.wait()

        def arm(self, places: Places, *, renew: bool) -> None:
            assert not stopped.is_set()

        def stop(self) -> None:
            stopped.set()

    monkeypatch.setattr(removals, "Observer", Slow)
    watch = removals.Removals({tmp_path: frozenset({"control.sock"})}, lambda: None)
    with ThreadPoolExecutor(2) as threads:
        arming = threads.submit(watch.arm)
        begun.wait()
        closing = threads.submit(watch.close)
        go_on.set()
        arming.result()
        closing.result()
    assert stopped.is_set()
    watch.arm()
