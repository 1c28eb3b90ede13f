"""How far a run is: one line that is written anew on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TextIO

from trapd import durations

ON_TERMINAL, ELSEWHERE = 0.5, 30.0  # s between two lines


class Progress:
    """Counts images. ``show`` starts a thread that writes lines, until ``close``."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._terminal = self._out.isatty()
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._width = 0
        self.begin(0)

    def begin(self, total: int) -> None:
        self.total, self.extracted, self.kept, self.rejected = total, 0, 0, 0
        self._began = time.monotonic()

    def count(self, *, kept: bool = False, rejected: bool = False) -> None:
        """An image is done."""
        with self._lock:
            self.extracted += 1
            self.kept += kept
            self.rejected += rejected

    def say(self, text: str) -> None:
        """Write a line of its own."""
        with self._lock:
            self._write(text, end="\n")

    def show(self) -> None:
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        if self._thread:
            self._thread.join()
            with self._lock:
                self._write(self.line(), end="\n")
            self._thread = None

    def line(self) -> str:
        """Return how far the run is, with the time that is left if that can be known."""
        words = f"{self.extracted} of {self.total} images"
        extra = [f"{self.kept} from kept answers"] if self.kept else []
        extra += [f"{self.rejected} REJECTED"] if self.rejected else []
        fresh, left = self.extracted - self.kept, self.total - self.extracted
        if fresh and left:
            seconds = (time.monotonic() - self._began) / fresh * left
            extra.append(f"{durations.age(seconds)} left")
        return ", ".join([words, *extra])

    def _run(self) -> None:
        while not self._end.wait(ON_TERMINAL if self._terminal else ELSEWHERE):
            with self._lock:
                self._write(self.line(), end="\r" if self._terminal else "\n")

    def _write(self, text: str, end: str) -> None:
        blank = " " * max(0, self._width - len(text)) if self._terminal else ""
        self._width = len(text) if end == "\r" else 0
        with contextlib.suppress(OSError):  # the terminal was closed, or nobody reads the pipe: the run goes on
            print(text + blank, end=end, file=self._out, flush=True)
