"""That the worker was told to leave, known at once, also while its main thread cannot be interrupted.

Python runs a signal's handler in the main thread, between two of its instructions: a solo pool that computes in C, or a
handler of the application's that takes its time, keeps it from being run. Until then nothing would claim time for the
tasks that run, and the drain would be taken for a hang.
"""

from __future__ import annotations

import os
import signal


class Sigterm:
    """Made in the main thread, of which it takes the wakeup fd; nothing is told if somebody else has that."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        other = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if other != -1:
            signal.set_wakeup_fd(other)
        else:  # a child of the pool has signals of its own
            os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))

    def received(self) -> bool:
        """Has SIGTERM come since it was asked last? From any thread."""
        try:
            return int(signal.SIGTERM) in os.read(self.reader, 4096)
        except BlockingIOError:
            return False
