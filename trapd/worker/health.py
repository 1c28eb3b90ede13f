"""How the worker is, in the supervisor's words. The consumer's loop only stamps the time; a thread judges and reports.

Why so: a thread alone proves nothing about the loop, and the loop alone cannot report when it has good reason to stand
still (the broker is away, it drains, a solo pool runs a task in it). So each message depends on the phase as well.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import PurePath

TICK = 1.0  # s between two looks
STATUS_EVERY = 10.0  # s at least between two messages that only tell something new: each wakes the supervisor
EXTEND_EVERY = 10.0  # s
EXTEND_BY = 30.0  # s: three messages may get lost
UNREACHABLE_AFTER = 1.0  # s of connecting until it is called unreachable
QUIET_DRAIN = 120.0  # s without a running task after which a drain has no claim to more time
DEFAULT_PERIOD = 20.0  # s, without a watchdog


class Phase(StrEnum):
    IMPORTING = "importing"
    CONNECTING = "connecting"
    READY = "ready"
    RECONNECTING = "reconnecting"
    DRAINING = "draining"


class Health:
    """What is known, and what there is to say. All times are seconds of CLOCK_MONOTONIC.

    ``counts`` gives the numbers of active and of reserved tasks, ``watchdog`` is the supervisor's time (0: none).
    """

    def __init__(self, counts: Callable[[], tuple[int, int]], watchdog: float, now: float) -> None:
        self._counts = counts
        self._period = watchdog / 3 if watchdog else DEFAULT_PERIOD
        self._stall = watchdog / 2 if watchdog else DEFAULT_PERIOD
        self.phase, self.since = Phase.IMPORTING, now
        self.stamped = now  # when the consumer's loop last turned
        self.was_ready = False  # since the start: a connection that breaks before that is still the first one
        self.inline = False  # tasks run inside that loop (solo pool)
        self.strays = 0
        self._announce: dict[str, str] = {}  # to be said once, and said again until it is heard
        self._about: tuple[Phase, bool, int] = (self.phase, False, 0)  # a change of this is told at once
        self._said_about, self._said, self._said_at = self._about, "", now - STATUS_EVERY
        self._pinged = self._extended = now - 3600.0
        self._busy_at = now

    def enter(self, phase: Phase, now: float) -> None:
        """A drain is never left again."""
        if self.phase in (Phase.DRAINING, phase):
            return
        if phase is Phase.READY:
            self.stamped = now
            if not self.was_ready:
                self.was_ready, self._announce = True, {"READY": "1"}
        elif phase is Phase.DRAINING:
            self._announce = {"STOPPING": "1"}
            self._busy_at = now
        self.phase, self.since = phase, now

    def message(self, now: float, where: Callable[[], str]) -> dict[str, str]:
        """What to send now; empty if there is nothing to say. ``where`` tells what the main thread is doing."""
        active, reserved = self._counts()
        if active:
            self._busy_at = now
        fields = dict(self._announce)
        stalled = self.phase is Phase.READY and now - self.stamped >= self._stall and not (self.inline and active)
        away = self.phase in (Phase.CONNECTING, Phase.RECONNECTING) and now - self.since >= UNREACHABLE_AFTER
        self._about = self.phase, stalled or away, self.strays
        if self.phase in (Phase.READY, Phase.RECONNECTING) and not stalled and now >= self._pinged + self._period:
            fields["WATCHDOG"] = "1"
        if self._deserves_time(now) and now >= self._extended + min(EXTEND_EVERY, self._period):
            fields["EXTEND_TIMEOUT_USEC"] = str(int(EXTEND_BY * 1e6))
        text = f"main loop stalled for {now - self.stamped:.0f} s at {where()}, {active} active" if stalled else ""
        text = text or self._text(now, active, reserved)
        news = fields or self._about != self._said_about or now >= self._said_at + STATUS_EVERY
        if news and text != self._said:
            fields["STATUS"] = text
        return fields

    def sent(self, fields: dict[str, str], now: float) -> None:
        """The message is on its way."""
        self._announce = {key: value for key, value in self._announce.items() if key not in fields}
        if "WATCHDOG" in fields:
            self._pinged = now
        if "EXTEND_TIMEOUT_USEC" in fields:
            self._extended = now
        if "STATUS" in fields:
            self._said_about, self._said, self._said_at = self._about, fields["STATUS"], now

    def _deserves_time(self, now: float) -> bool:
        if self.phase is Phase.DRAINING:
            return now - self._busy_at < QUIET_DRAIN
        return self.phase is Phase.CONNECTING and now - self.since >= UNREACHABLE_AFTER

    def _text(self, now: float, active: int, reserved: int) -> str:
        count, took = f"{active} active", now - self.since
        match self.phase:
            case Phase.IMPORTING:
                return "importing"
            case Phase.CONNECTING | Phase.RECONNECTING if took >= UNREACHABLE_AFTER:
                return f"broker unreachable for {took:.0f} s, {count}"
            case Phase.DRAINING if now - self._busy_at >= QUIET_DRAIN:
                return f"draining, {count}, but not leaving for {now - self._busy_at:.0f} s"
            case Phase.READY:
                waiting = reserved - active
                more = f", {waiting} reserved" if waiting > 0 else ""
                return f"ready, {count}{more}" + (f", {self.strays} stray modules" if self.strays else "")
            case _:
                return f"{self.phase}, {count}"


class Reporter:
    """The thread that speaks. It takes no locks and imports nothing: the pool forks while it runs."""

    def __init__(self, health: Health, send: Callable[[dict[str, str]], bool], look: Callable[[], None]) -> None:
        self.health = health
        self._send, self._look = send, look
        self._kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._main = threading.main_thread().ident

    def start(self) -> None:
        threading.Thread(target=self._run, name="trapd-health", daemon=True).start()

    def enter(self, phase: Phase) -> None:
        """From any thread, and from a signal handler: so without a lock. It is reported at once."""
        self.health.enter(phase, time.monotonic())
        os.eventfd_write(self._kick, 1)

    def stamp(self) -> None:
        """The loop turns."""
        self.health.stamped = time.monotonic()

    def say(self) -> bool:
        """Send what there is to say; False if it has to be tried again soon."""
        now = time.monotonic()
        fields = self.health.message(now, self.where)
        if fields and not self._send(fields):
            return False
        self.health.sent(fields, now)
        return True

    def where(self) -> str:
        """File and line that the main thread is in."""
        frame = sys._current_frames().get(self._main or 0)
        return f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else "?"

    def _run(self) -> None:
        while True:
            self._look()
            heard = self.say()
            # not poll: eventlet takes that away, and puts a select of its own in the place of this
            if select.select([self._kick], [], [], TICK if heard else 0.1)[0]:
                os.eventfd_read(self._kick)
