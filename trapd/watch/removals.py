"""Notices that somebody removes something from a folder, or the folder: a socket is gone then, and nobody is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from trapd.watch.observer import Observer
from trapd.watch.places import Places


class Removals:
    """Call ``notify`` in a thread of its own, from ``arm`` to ``close``, if a folder of ``places`` or one of its names
    changes."""

    def __init__(self, places: Mapping[Path, frozenset[str]], notify: Callable[[], object]) -> None:
        self._places = Places(folders={folder: names | {""} for folder, names in places.items()})  # "": the folder
        self._notify = notify
        self._observer: Observer | None = None
        self._closed, self._lock = False, threading.Lock()

    def arm(self) -> None:
        """Watch the folder that is there now. Blocks. Where the system has no watch left, the caller's own looks have
        to do. After ``close`` it does nothing."""
        with self._lock, contextlib.suppress(OSError):
            if self._closed:
                return
            self._observer = self._observer or Observer(self._changed)
            self._observer.arm(self._places, renew=True)

    def _changed(self, path: str) -> None:
        self._notify()

    def close(self) -> None:
        """Return when ``notify`` is called no more. Blocks, also for an ``arm`` whose caller did not wait for it."""
        with self._lock:
            self._closed = True
            if self._observer:
                self._observer.stop()
