"""What happened while no trapd ran, as far as history and machine tell: a reboot, or a trapd that was killed."""

from __future__ import annotations

from collections.abc import Sequence

from trapd.event import Event, EventKind
from trapd.rollout.events import OUTSIDE
from trapd.sizes import counted

BOOT = "boot"  # the name, in the history, of the machine's start in which trapd was started last
_LIFE = (EventKind.TRAPD_STARTED, EventKind.TRAPD_STOPPED)
_SAME = 2.0  # seconds that the machine's start may seem to move: the wall clock is corrected after a boot


def absence(
    latest: Sequence[Event], unfinished: Sequence[Event], wall: float, booted: float, same: bool | None = None
) -> list[Event]:
    """Return the event, or none. ``latest``: the end of the history, before this trapd wrote into it; ``unfinished``:
    of J6, workers as the trapd before left them; ``booted``: when the machine was started. All in seconds since the
    epoch. ``same``: has the machine not been started since then? None: that is not known, and the clock on the wall,
    which may have been set meanwhile, has to say it.

    The duration is the time in which nothing was recorded: a bound for how long nobody kept the workers.
    """
    if not latest:
        return []
    last = latest[-1]
    silent = round(max(0.0, wall - last.wall), 3)
    if booted > last.wall + _SAME if same is None else not same:
        # once each: systemd may have started a killed worker again, and no trapd recorded the end of the first run
        ran = [*dict.fromkeys(e.instance for e in unfinished if e.instance and not e.kind.failure)]
        workers = f"{counted(len(ran), 'worker')} ran then ({', '.join(ran)})" if ran else "no worker ran then"
        reason = (
            f"the machine was started {wall - booted:.0f} s ago; {workers}, and which tasks they ran is not known:"
            " a reboot empties /run"
        )
        return [Event(wall, EventKind.REBOOTED, reason, OUTSIDE, duration=silent)]
    life = [event for event in latest if event.kind in _LIFE]
    if life and life[-1].kind is EventKind.TRAPD_STARTED:
        reason = "the trapd before was killed or crashed: it recorded no end; see its log"
        silent = min(silent, round(wall - booted, 3))  # the clock may have been set
        return [Event(wall, EventKind.TRAPD_LOST, reason, OUTSIDE, duration=silent)]
    return []
