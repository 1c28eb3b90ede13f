"""How the worker is, in the supervisor's words. The consumer's loop only stamps the time; a thread judges and reports.

Why so: a thread alone proves nothing about the loop, and the loop alone cannot report when it has good reason to stand
still (the broker is away, it drains, a solo pool runs a task in it). So each message depends on the phase as well, and
on whom the main thread waits for: to end a worker brings no broker back, and loses what it runs.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from trapd.sizes import counted
from trapd.worker.orphan import Orphan
from trapd.worker.sigterm import Sigterm
from trapd.worker.standing import BROKER, MainThread, Standing

TICK = 0.9  # s between two looks: so old, and the way of a message, the number of running tasks is in `status`
STATUS_EVERY = (
    10.0  # s at least between two messages of which only an age or a reserve is new: each wakes the supervisor
)
EXTEND_EVERY = 10.0  # s
EXTEND_BY = 30.0  # s: three messages may get lost
# s, while tasks run: so long may the way out take after the last of them (TimeoutStopSec= of the unit). With what the
# supervisor takes to look twice, a main process that hangs in a drain is noticed within 60 s.
DRAIN_BY = 55.0
MISSED = 2.0  # s, two looks: a drain claims time only if its main thread was seen well since
UNREACHABLE_AFTER = 1.0  # s of connecting until it is called unreachable
STILL = 5.0  # s without a turn of the loop after which it is looked at; without a hub a turn takes up to 2 s
QUIET_DRAIN = 20.0  # s without a running task after which a drain says that it does not get on
YOUNG = 0.1  # of the time since READY: so often, while that is not much, a sign of life comes
STANDSTILL = 5.0  # s between two looks after which it was this process, not its loop, that stood still
DEFAULT_PERIOD = 20.0  # s, without a watchdog

# A change of this is told at the next look: phase, stalled, whom it waits for, whether it stands, imports and remote
# commands, and running tasks. A worker at rest, or busy all the time, tells nothing.
_About = tuple["Phase", bool, str, bool, tuple[int, int, int, str, int, bool, int], int]


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
        self._still = min(STILL, self._stall)
        self.phase, self.since = Phase.IMPORTING, now
        self.stamped = now  # when the consumer's loop last turned
        self.was_ready = False  # since the start: a connection that breaks before that is still the first one
        self.inline = False  # tasks run inside that loop (solo pool)
        self.pool_is_known = False  # where the main thread waits for its tasks in a drain: the pool is one of Celery's
        self.held_up = ""  # what a start waits for that is neither the broker nor the main thread
        self.connected: Callable[[], bool] = lambda: False  # has the consumer a connection to its broker?
        self.unread: Callable[[], int] = lambda: 0  # results of tasks that have ended, though they count as active
        self._well = now  # when there was last nothing to be said against it: it turned, or had good reason not to
        self._away, self._away_since = "", now  # whom it waits for, and since when
        self.slots: int | None = None  # tasks that run at a time
        self.strays = 0
        self.late = 0  # distributions that it has loaded since it became ready
        self.replaced = 0  # modules that are newer than others of their distribution
        self.remote = ""  # commands of remote control that stand: the latest, and how many more
        self.aside = 0  # messages that are set aside
        self.lost = 0  # processes of the pool that were killed
        self.taken = 0  # tasks that somebody revoked or terminated
        self.because = ""  # why it drains, if nobody told it to by a signal
        self.outgrown = ""  # that its main process has more memory than it may have, in words
        self.idle: tuple[str, float] | None = None  # why it takes no tasks although it should, and since when
        self.stopped = ""  # which processes of its pool stand stopped, in words
        self.overdue = False  # all its slots are taken by tasks that run far beyond their like
        self._announce: dict[str, str] = {}  # to be said once, and said again until it is heard
        self._about: _About = (self.phase, False, "", False, (0, 0, 0, "", 0, False, False), 0)
        self._said_about: _About = self._about
        self._said, self._said_at = "", now - STATUS_EVERY
        self._pinged = self._extended = now - 3600.0
        self._busy_at = self._looked = self._excused = self._first_ready = now

    def enter(self, phase: Phase, now: float) -> None:
        """A drain is never left again."""
        if self.phase in (Phase.DRAINING, phase):
            return
        if phase is Phase.READY:
            self.stamped = now
            if not self.was_ready:
                self.was_ready, self._announce, self._first_ready = True, {"READY": "1"}, now
        elif phase is Phase.DRAINING:
            self._announce = {"STOPPING": "1"}
            self._busy_at = now
        self.phase, self.since, self._well, self._away = phase, now, now, ""

    def message(self, now: float, look: Callable[[], Standing]) -> dict[str, str]:
        """What to send now; empty if there is nothing to say. ``look`` tells where the main thread stands."""
        self._wake(now)
        active, reserved = self._counts()
        if active and not (self.phase is Phase.DRAINING and self.unread() >= active):
            self._busy_at = now
        place = self._judge(now, look, busy=self.inline and active > 0)
        fields = dict(self._announce)
        serves = self.phase in (Phase.READY, Phase.RECONNECTING)
        stalled = serves and now - self._well >= self._stall
        self._about = (
            self.phase,
            stalled,
            self._away,
            bool(place),
            (
                *(self.strays, self.late, self.replaced, self.remote, self.aside + self.lost + self.taken),
                *(self.idle is not None, bool(self.outgrown) + 2 * self.overdue + 4 * bool(self.stopped)),
            ),
            active,
        )
        if serves and not stalled and self._well > self._pinged and now >= self._pinged + self._gap(now):
            fields["WATCHDOG"] = "1"
        if (time := self._deserves(now)) and now >= self._extended + min(EXTEND_EVERY, self._period):
            fields["EXTEND_TIMEOUT_USEC"] = str(int(time * 1e6))
        text = f"main loop stalled for {now - self._well:.0f} s at {place}, {active} active" if stalled else ""
        text = text or self._text(now, active, reserved, place)
        telling = fields.keys() - {"WATCHDOG"} if self._gap(now) < STATUS_EVERY else fields
        news = telling or self._about != self._said_about or now >= self._said_at + STATUS_EVERY
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

    def _judge(self, now: float, look: Callable[[], Standing], busy: bool) -> str:
        """Whether it is well, and if not, where it stands (else empty)."""
        match self.phase:
            case Phase.READY:
                since = now if busy else self.stamped
                self._well = max(self._well, since)
                patience = self._still
            case Phase.CONNECTING | Phase.RECONNECTING:
                since, patience = self.since, UNREACHABLE_AFTER
            case Phase.DRAINING:
                return self._judge_drain(now, look, busy)
            case _:
                return ""
        if now - since < patience:
            self._away = ""
            return ""
        standing = look()
        waits_for = standing.waits_for or ("" if self.phase is Phase.READY or self.connected() else BROKER)
        if waits_for:
            self._away_since = self._away_since if self._away else since
            self._well, self._away = now, waits_for
        elif now - self._well >= self._still:  # between two waits it may have been seen elsewhere
            self._away = ""
        return standing.place

    def _judge_drain(self, now: float, look: Callable[[], Standing], busy: bool) -> str:
        """Its loop has ended, and the main thread waits for the pool. Without a task it claims no time; so with tasks a
        hang shows here alone, for they run on in processes of their own."""
        self._away = ""
        if busy or self._busy_at < now or not self.pool_is_known:
            self._well = now
            return ""
        standing = look()
        self._well = now if standing.in_pool or standing.waits_for else max(self._well, self.stamped)
        return standing.place if now - self._well >= self._still else ""

    def _wake(self, now: float) -> None:
        """If this thread did not look for a while, the process stood still (SIGSTOP, a paused machine), and the loop
        could not turn either. Once: a loop that never lets go of the interpreter looks the same from here."""
        if now - self._looked > STANDSTILL and self.stamped > self._excused:
            self.stamped = self._excused = now
        self._looked = now

    def _gap(self, now: float) -> float:
        """Seconds between two signs of life. At first they come fast: one of them, after its pool's min_ready, proves a
        new worker (contracts.py, B15), which does not know how long that is. Each says: it was well since the last."""
        if self.phase is not Phase.READY or self._away:
            return self._period
        return min(self._period, max(TICK, (now - self._first_ready) * YOUNG))

    @property
    def away(self) -> str:
        """Whom the main loop waits for, outside of this process; empty if for nobody, for all that is known."""
        return self._away

    def quiet(self, now: float) -> float:
        """Seconds that a drain has gone on without a task, or has hung; 0 if it does not drain."""
        return now - min(self._busy_at, self._well) if self.phase is Phase.DRAINING else 0.0

    def _deserves(self, now: float) -> float:
        """Seconds that it needs more, from now; 0 if it has no claim to any."""
        if self.phase is Phase.DRAINING:
            return DRAIN_BY if self._busy_at >= now and now - self._well <= MISSED else 0.0
        return EXTEND_BY if self.phase is Phase.CONNECTING and self._away else 0.0

    def _text(self, now: float, active: int, reserved: int, place: str) -> str:
        count = f"{active} active"
        if self.phase in (Phase.READY, Phase.RECONNECTING) and self.idle is not None:
            told = f", by remote control: {self.remote}" if self.remote else ""
            return f"not consuming for {now - self.idle[1]:.0f} s: {self.idle[0]}, {count}{told}"
        if self._away:
            return f"{self._away} unreachable for {now - self._away_since:.0f} s, {count}"
        match self.phase:
            case Phase.IMPORTING:
                return "importing"
            case Phase.CONNECTING if place:  # connected, and not ready: a handler of the application's, mostly
                return f"starting for {now - self._well:.0f} s, {self.held_up or f'at {place}'}"
            case Phase.DRAINING:
                quiet = now - self._busy_at
                stays = f", but not leaving for {quiet:.0f} s" if quiet >= QUIET_DRAIN else ""
                if self.stopped:
                    stays = f"{stays or ', but not leaving'}: {self.stopped}"
                if place:
                    stays = f", but not leaving: main loop stalled for {now - self._well:.0f} s at {place}"
                return f"draining, {count}{stays}" + (f", because: {self.because}" if self.because else "")
            case Phase.READY:
                waiting = reserved - active
                more = f", {waiting} reserved" if waiting > 0 else ""
                told = f", by remote control: {self.remote}" if self.remote else ""
                more += f", {counted(self.strays, 'stray module')}" if self.strays else ""
                more += f", {counted(self.late, 'distribution')} imported late" if self.late else ""
                more += f", {counted(self.replaced, 'module')} newer than the rest" if self.replaced else ""
                more += f", {counted(self.aside, 'message')} set aside" if self.aside else ""
                more += f", {counted(self.lost, 'process', 'processes')} lost" if self.lost else ""
                more += f", {counted(self.taken, 'task')} revoked" if self.taken else ""
                more += ", every slot runs a task far beyond its like" if self.overdue else ""
                more += f", {self.outgrown}" if self.outgrown else ""
                return f"ready, {count}{more}{told}"
            case _:
                return f"{self.phase}, {count}"


class Reporter:
    """The thread that speaks. It takes no locks and imports nothing: the pool forks while it runs."""

    def __init__(self, health: Health, send: Callable[[dict[str, str]], bool], look: Callable[[Health], None]) -> None:
        self.health = health
        self._send, self._look = send, look
        self._orders: deque[Callable[[], None]] = deque()
        self._kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.main, self._orphan = MainThread(), Orphan()
        self._sigterm: Sigterm | None = None

    def watch_sigterm(self) -> None:
        """In the main thread: from now on a drain begins when SIGTERM comes, whatever that thread is doing."""
        self._sigterm = Sigterm()

    def start(self) -> None:
        threading.Thread(target=self._run, name="trapd-health", daemon=True).start()

    def enter(self, phase: Phase) -> None:
        """From any thread, and from a signal handler: so without a lock. It is reported at once."""
        self.health.enter(phase, time.monotonic())
        os.eventfd_write(self._kick, 1)

    def soon(self, act: Callable[[], None]) -> None:
        """From any thread: call ``act`` in the reporter's own, which is a greenlet where those replace threads."""
        self._orders.append(act)
        os.eventfd_write(self._kick, 1)

    def stamp(self) -> None:
        """The loop turns."""
        self.health.stamped = time.monotonic()

    def send(self) -> bool:
        """Send what there is to say; False if it has to be tried again soon."""
        now = time.monotonic()
        fields = self.health.message(now, self.main.look)
        if fields and not self._send(fields):
            return False
        self.health.sent(fields, now)
        return True

    def _run(self) -> None:
        while True:
            self._look(self.health)
            heard = self.send()
            self._orphan.look(self.health.quiet(time.monotonic()))
            # not poll: eventlet takes that away, and puts a select of its own in the place of this
            files = [self._kick, *([self._sigterm.reader] if self._sigterm else [])]
            ready = select.select(files, [], [], TICK if heard else 0.1)[0]
            if self._sigterm and self._sigterm.received():
                self.health.enter(Phase.DRAINING, time.monotonic())
            if self._kick in ready:
                os.eventfd_read(self._kick)
            while self._orders:
                self._orders.popleft()()
