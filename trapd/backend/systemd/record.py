"""The record of one instance: PID 1's latest facts, and what trapd remembers beside them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from trapd.backend.systemd import facts as meaning
from trapd.backend.systemd.facts import Facts
from trapd.backend.words import active_tasks, ailment, hangs_on, silence, without_counts
from trapd.contracts import fresh_after
from trapd.masking import mask
from trapd.model import Ailment, CodeReport, Failure, Instance, InstanceId, InstanceState

# Not ready yet, or not any more; who stops was ready until then, whether its main process is there still or not.
_OUTSIDE_ITS_RUN = frozenset({InstanceState.STARTING, InstanceState.FAILED})


@dataclass(eq=False)
class Record:
    """One instance, from the first report about its unit until it is gone and need not be remembered. Only ``receive``
    changes it, except the fields for what trapd asked of PID 1 and for what was read in files."""

    id: InstanceId
    watchdog: float = 60.0  # s, 0 for none
    facts: Facts = field(default_factory=Facts)
    # What trapd asked of PID 1.
    wish: InstanceState | None = None  # STARTING or DRAINING: asked of systemd, which has not begun yet
    killed: bool = False  # by trapd
    was_draining: bool = False  # it was draining when trapd killed it: no failure, whatever its end looks like
    # What PID 1 reported.
    asked: bool = False  # this run was asked to exit, by trapd or not
    left: bool = False  # it exited with status 0 without being asked: a failure for trapd; systemd forgets the unit
    start_job: int = 0
    stop_job: int = 0
    failures: int = 0  # in a row, forgiveness not yet considered
    counted: str = ""  # the run that was counted last
    noticed: float = 0.0  # when its present state was first seen
    hung: bool = False  # its time to stop was over, and PID 1 ends it (B14)
    # What PID 1 answered: it sends no signal for a sign of life.
    alive: float = 0.0  # when the last sign of life came
    asked_at: float = 0.0  # when trapd last asked for it
    answered_at: float = 0.0  # when PID 1 last answered
    # What was read in files.
    failure: Failure | None = None
    explained: str = ""  # the run that ``failure`` is of
    report: CodeReport | None = None
    reported: tuple[str, str] = ("", "")  # the run, and its status without counts, at which ``report`` was read
    # What ``observe`` shows: not before the files that belong to it have been read.
    shown: Instance | None = None

    @property
    def state(self) -> InstanceState | None:
        """The state by the latest facts and wishes; None if it is absent."""
        seen = meaning.state(self.facts, start_job=self.start_job, stop_job=self.stop_job)
        match seen:
            case None | InstanceState.FAILED if self.wish is InstanceState.STARTING:
                return self.wish
            case None if self.left:
                return InstanceState.FAILED
            case InstanceState.STARTING | InstanceState.READY if self.wish is InstanceState.DRAINING:
                return self.wish
            case InstanceState.DRAINING if self.killed:
                return InstanceState.STOPPING
            case InstanceState.FAILED if self.was_draining:
                return None
            case _:
                return seen

    def receive(self, new: Facts, now: float, live: bool = True) -> None:
        """Apply facts that PID 1 reports. ``live``: they have just changed; else they come from a listing."""
        old, before = self.facts, self.state
        if new.invocation and new.invocation != old.invocation:
            self._begin_run(first=not old.invocation)
        self.facts = new
        if new.draining:
            self.asked = True
        if new.active == "deactivating" and new.result == "timeout" and self.asked:
            self.hung = self.was_draining = True
        if new.job and new.active == "deactivating":
            self.stop_job = new.job
        if new.job and new.active == "activating":
            self.start_job = new.job
        if new.active not in ("inactive", "failed") and self.wish is InstanceState.STARTING:
            self.wish = None
        if new.active not in ("active", "activating", "reloading") and self.wish is InstanceState.DRAINING:
            self.wish = None
        self._count(old, now if live else new.ended)
        if self.state is not before:
            self.noticed = now

    def _begin_run(self, first: bool) -> None:
        self.asked = self.left = self.hung = False
        self.report = None
        self.alive = self.asked_at = self.answered_at = 0.0
        if not first:  # a request before the first run is meant for the first run
            self.killed = self.was_draining = False

    def unload(self, now: float) -> None:
        """PID 1 has unloaded the unit, and its end was missed: the end was no failure, because a failed unit stays
        loaded."""
        self.asked, self.killed = True, False
        self.receive(replace(self.facts, active="inactive", sub="dead", job=0, pid=0), now, live=False)

    def _count(self, old: Facts, ended: float) -> None:
        """Count failed runs: the last run, once, and the runs that failed while trapd was not connected."""
        new = self.facts
        missed = new.restarts - old.restarts - old.failing
        if missed > 0:
            self.failures += missed
        self.left |= self._left_unasked(old)
        failed = (new.failing and not self.was_draining) or self.left
        if failed and self.counted != new.invocation:
            if new.result == "watchdog":  # it was well until the watchdog's time before its end (B9)
                ended = (new.ended if new.ended > new.ready else ended) - self.watchdog
            forgiven = new.was_ready and ended - new.ready >= fresh_after(self.failure)
            self.failures = 1 if forgiven else self.failures + 1
            self.counted = new.invocation

    def _left_unasked(self, old: Facts) -> bool:
        """Whether it has just ended without being asked, and with success as systemd sees it. A run whose end was
        missed, so that its unit has been loaded anew since, does not count: nothing is known of its end."""
        new = self.facts
        # A kill stops the unit first: who exits at that SIGTERM, before the SIGKILL, ends in the job of the stop.
        over = new.active == "inactive" and (self.killed or not new.job)
        ended = over and new.invocation == old.invocation
        ran = old.active not in ("inactive", "failed") and old.sub != "auto-restart"
        return ended and ran and (self.killed or not self.asked) and not self.was_draining

    @property
    def unexplained(self) -> bool:
        """Whether its last run failed, and ``failure`` is not of this run yet."""
        failed = self.left or (self.facts.failing and not self.was_draining)
        return failed and self.explained != self.facts.invocation

    @property
    def unread(self) -> bool:
        """Whether it may have written a report that was not read yet."""
        reports = self.state in (InstanceState.READY, InstanceState.DRAINING)
        return reports and self.reported != (self.facts.invocation, without_counts(self.facts.text))

    def view(self) -> Instance | None:
        """Return the instance as it is now, without forgiveness of earlier failures."""
        state, facts = self.state, self.facts
        if state is None:
            return None
        running = bool(facts.pid) and state is not InstanceState.FAILED
        serving = running and state in (InstanceState.STARTING, InstanceState.READY)
        status = "" if state is InstanceState.STARTING and not running else mask(facts.text)
        return Instance(
            self.id,
            state,
            self._since(state),
            pid=facts.pid or None,
            ready_at=facts.ready if facts.was_ready and state not in _OUTSIDE_ITS_RUN else None,
            active_tasks=active_tasks(facts.text) if running else None,
            ailment=ailment(status) if serving else None,
            status=hangs_on() if self.hung and state is InstanceState.STOPPING else status,
            failures=self.failures,
            failure=self.failure,
            report=self.report,
        )

    def _since(self, state: InstanceState) -> float:
        facts = self.facts
        match state, facts.active:
            case InstanceState.READY, _:
                return facts.ready
            case InstanceState.STARTING, "activating" | "active":
                return facts.began
            case ((InstanceState.DRAINING | InstanceState.STOPPING), "deactivating"):
                return facts.changed
            case InstanceState.FAILED, _:
                return facts.ended
            case _:
                return self.noticed

    def shown_at(self, now: float) -> Instance | None:
        """Return what ``observe`` shows at this time (B9, B15)."""
        shown = self.shown
        if shown is None or shown.ready_at is None or shown.state is not InstanceState.READY:
            return shown
        alive = max(self.alive, shown.ready_at)
        silent = self.answered_at - alive > silence(self.watchdog)
        fresh = now - shown.ready_at >= fresh_after(shown.failure) and not silent
        ill = Ailment.SILENT if silent else shown.ailment
        return replace(shown, alive_at=alive, ailment=ill, failures=0 if fresh else shown.failures)

    def due(self, now: float) -> bool:
        """Whether to ask PID 1 for its last sign of life (B15). The younger the run, the sooner: its worker gives signs
        of life more often (worker/health.py). At most once a second."""
        shown = self.shown
        if shown is None or shown.ready_at is None or shown.state is not InstanceState.READY:
            return False
        patience = min(max(1.0, (now - shown.ready_at) / 10), silence(self.watchdog) / 2)
        return now - self.asked_at >= min(1.0, patience) and now - max(self.alive, shown.ready_at) >= patience

    @property
    def done_with(self) -> bool:
        """Whether it is absent, and nothing about it needs to be remembered."""
        return self.state is None and self.facts.active != "failed"
