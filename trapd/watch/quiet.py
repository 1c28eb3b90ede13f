"""When has a change come to its end? The decision alone: no clock, no files; times come in, the next look comes out.

    SETTLED    what is installed is whole, and nobody wrote for a quiet period
    TENTATIVE  what is installed is whole, and the installer that wrote it says so; the quiet period goes on
    CHANGING   somebody writes, or wrote a moment ago, or left it unfinished; the ceiling runs from the first event
    BROKEN     the ceiling passed, or what is there cannot work and only another change can cure it

An event only makes us look. One look comes early, after half a quiet period, so that everything is read by then; the
one at the end of the quiet period decides. If that one finds the work unfinished it is repeated every quiet period up
to the ceiling; after the ceiling, only events and the owner's periodic look can bring it back.

Where an installer has come to its end (``hurry``) a look comes at once. What it finds may be tentative. The quiet
period runs from there, not from the last file: the second pip of a script may run for seconds before it writes (5 to 7
on a busy machine), and the look that decides then sees that it runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

from trapd.model import DiskState

EARLY = 0.5  # of the quiet period: leaves the other half to read everything before the look that decides
SOON = 0.05  # seconds: an installer has ended, and the last events of what it wrote still come in


class Verdict(Enum):
    """What a look says of the moment it was taken."""

    WHOLE = auto()
    UNFINISHED = auto()  # somebody is at work, or was interrupted: time may cure it
    BROKEN = auto()  # only another change can cure it


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a look. ``fingerprint``: of all that was seen; empty if there was nothing to take one of."""

    verdict: Verdict
    reason: str = ""  # why it is not whole
    fingerprint: str = ""
    age: float = math.inf  # seconds since the youngest file was written
    facts: bool = False  # it is whole, and installers vouch for all that changed since it settled last


class Quiet:
    """Call ``event`` and ``looked`` in the order of time; look when ``due``. Times are monotonic seconds."""

    def __init__(self, quiet_period: float, ceiling: float, now: float) -> None:
        self._quiet_period, self._ceiling = quiet_period, ceiling
        self.state, self.reason = DiskState.CHANGING, "not looked at yet"
        self._first = now  # when it became unsettled
        self._last = -math.inf  # event
        self._what = ""  # the first event of this change
        self._looked: float | None = None  # when the last look began, and ended
        self._ended = now
        self._seen: str | None = None  # fingerprint of that look, unless an event came since
        self._hurried: float | None = None  # when an installer came to its end, until a look has seen what it left
        self._left = -math.inf  # when the last installer of this change came to its end
        self._vouched = False  # an installer came to its end since it settled last
        self._tentative = ""  # fingerprint of what is tentative

    @property
    def due(self) -> float | None:
        """When to look next; None: only after an event (or periodically)."""
        if self._looked is None:
            return self._first
        if self.state is DiskState.SETTLED:
            return None
        next_look = self._next_look(self._looked)
        if self._hurried is not None:
            soon = max(self._hurried, self._last + SOON)
            next_look = soon if next_look is None else min(next_look, soon)
        if self.state is DiskState.BROKEN:
            return next_look
        return min(self._ended + self._quiet_period if next_look is None else next_look, self._first + self._ceiling)

    def _next_look(self, looked: float) -> float | None:
        """Early, then at the end of the quiet period; None once that has been done."""
        if looked <= self._last:
            return self._last + EARLY * self._quiet_period
        quiet_at = self._quiet_at
        return quiet_at if looked < quiet_at else None

    @property
    def _quiet_at(self) -> float:
        """When the quiet period ends, if nobody writes and no installer comes to its end until then."""
        return max(self._last, self._left) + self._quiet_period

    def event(self, at: float, what: str) -> None:
        """Something that may matter happened; ``what`` names it for people."""
        if self.state is DiskState.SETTLED and (self._hurried or 0.0) + self._quiet_period < at:
            self._hurried, self._vouched = None, False  # that installer had changed nothing
        new_burst = at - self._last >= self._quiet_period
        # a burst that already passed the ceiling stays broken until it ends, or the ceiling would never be seen
        if self.state is DiskState.SETTLED or (self.state is DiskState.BROKEN and new_burst):
            self.state, self.reason, self._first, self._what = DiskState.CHANGING, what, at, what
        self._what = self._what or what
        self._last = max(self._last, at)
        self._seen = None

    def hurry(self, at: float) -> None:
        """An installer came to its end: what it left is looked at now, not after half a quiet period."""
        self._hurried, self._vouched = at, True
        if self.state is not DiskState.SETTLED:
            self._left = at

    def taken(self) -> None:
        """The same files are to be judged otherwise: that they are is no event."""
        self._seen = None

    def looked(self, began: float, ended: float, finding: Finding) -> None:
        """A look was taken between these times."""
        if self._seen is not None and finding.fingerprint and finding.fingerprint != self._seen:
            # lost events, or a file system that sends none: the difference itself is the event
            self.event(math.nextafter(began, -math.inf), "files changed")
        self._looked, self._ended = began, ended
        undisturbed = self._last < began
        if undisturbed:
            self._note_youth(began, finding)
        if undisturbed and self._hurried is not None and self._hurried <= began:
            self._hurried = None
        quiet = undisturbed and self._quiet_at <= began
        if self.state is DiskState.SETTLED and self._seen == finding.fingerprint:
            return  # a lock of somebody's other work says nothing about files that are as they were
        self._seen = finding.fingerprint or None if undisturbed else None
        self._judge(began, quiet, undisturbed, finding)

    def _note_youth(self, began: float, finding: Finding) -> None:
        """A file that was written a moment ago counts as an event, though nobody heard it."""
        if finding.age < self._quiet_period:
            self._last = max(self._last, began - max(0.0, finding.age))
            self._what = self._what or "files were written a moment ago"

    def _judge(self, began: float, quiet: bool, undisturbed: bool, finding: Finding) -> None:
        ceiling = self._first + self._ceiling
        if quiet and finding.verdict is Verdict.WHOLE:
            self.state, self.reason, self._what, self._vouched = DiskState.SETTLED, "", "", False
        elif quiet and finding.verdict is Verdict.BROKEN:
            self._break(finding.reason)
        elif self.state is DiskState.SETTLED:
            self.state, self.reason, self._first = DiskState.CHANGING, finding.reason, began
        elif self.state is not DiskState.BROKEN and began < ceiling and self._is_tentative(undisturbed, finding):
            self.state, self.reason, self._tentative = DiskState.TENTATIVE, "", finding.fingerprint
        elif self.state is not DiskState.BROKEN and began >= ceiling:
            still = f"files are still being changed after {self._ceiling:g} s; the first was: {self._what}"
            self._break(finding.reason or still)
        elif quiet or self.state is not DiskState.BROKEN:
            self.state = DiskState.CHANGING if self.state is DiskState.TENTATIVE else self.state
            self.reason = finding.reason or self._what or self.reason

    def _is_tentative(self, undisturbed: bool, finding: Finding) -> bool:
        """What is tentative already stays so while late events of the same change come in."""
        same = self.state is DiskState.TENTATIVE and self._tentative == finding.fingerprint
        return self._vouched and finding.facts and (undisturbed or same)

    def _break(self, reason: str) -> None:
        self.state, self.reason, self._what = DiskState.BROKEN, reason, ""
