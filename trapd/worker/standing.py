"""Where the main thread stands while the consumer's loop does not turn, and whether it waits for somebody outside.

Celery's loop waits for the broker in many places, most of them out of its own sight: with packets dropped on the way to
Redis, a timer that publishes a heartbeat reads, connects and tries again inside kombu for as long as that lasts, and a
``socket_timeout`` does not bring the loop back either (Celery 5.7, kombu 5.7, redis-py 8.1). So the stack is read.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path, PurePath
from types import FrameType
from typing import Any, NamedTuple

BROKER, RESULTS = "broker", "result backend"
POOLS = "celery.concurrency."  # where Celery waits for the end of its pool, and for the tasks in it
# What of kombu only ever waits for the broker. Its messaging and pidbox call whoever takes a message: not these.
# Of client libraries only py-amqp is a broker's for certain; kombu's channels are its channels, which anybody may call.
_OF_THE_BROKER = ("kombu.transport.", "kombu.connection", "amqp.")
_OF_THE_RESULTS = ("celery.backends.",)
_PAUSES = ("kombu.utils.functional",)  # sleeps between two tries, on behalf of whoever called it
# By what Celery's pools wait: for processes, threads and greenlets.
_WAITS = ("billiard", "multiprocessing", "threading", "concurrent", "selectors", "gevent", "eventlet")


class Standing(NamedTuple):
    """``place``: file and line; ``waits_for``: BROKER, RESULTS, or empty if it waits for neither; ``in_pool``: it waits
    in its Celery pool, as it does in a drain as long as tasks run."""

    place: str
    waits_for: str
    in_pool: bool = False


class MainThread:
    """Made in the main thread. Everything else may be called from any thread: it takes no locks and imports nothing."""

    def __init__(self) -> None:
        main = threading.main_thread()
        self._ident = main.ident or 0
        self._state = Path(f"/proc/self/task/{main.native_id}/stat")
        self._greenlet: Any = None

    def follow_greenlet(self) -> None:
        """From now on the caller's greenlet is what counts, if it is one: the thread itself serves all of them."""
        greenlet = sys.modules.get("greenlet")
        self._greenlet = greenlet.getcurrent() if greenlet else None

    def look(self) -> Standing:
        """Where it stands now."""
        suspended: FrameType | None = getattr(self._greenlet, "gr_frame", None)
        frame = suspended or sys._current_frames().get(self._ident)
        if frame is None:
            return Standing("?", "")
        place = f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"
        if not suspended and self._computes():
            return Standing(place, "")
        return Standing(place, waits_for(frame), in_pool(frame))

    def _computes(self) -> bool:
        """It has a processor: whatever it is in, that is no wait."""
        with contextlib.suppress(OSError):
            return self._state.read_text().rpartition(")")[2].split()[0] == "R"
        return False


def waits_for(frame: FrameType | None) -> str:
    """Whom a thread that stands here waits for. The innermost frame of kombu or Celery decides: from there inwards
    there are only client libraries (redis, amqp, boto3, ...), whichever they are."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(_OF_THE_BROKER):
            return BROKER
        if module.startswith(_OF_THE_RESULTS):
            return RESULTS
        if module.startswith(("kombu.", "celery.", "trapd.")) and module not in _PAUSES:
            return ""
        frame = frame.f_back
    return ""


def in_pool(frame: FrameType | None) -> bool:
    """Does a thread that stands here wait in one of Celery's own pools? A handler or a signal's of the application's
    that was called there is further inwards."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.split(".")[0] not in _WAITS:
            return module.startswith(POOLS)
        frame = frame.f_back
    return False
