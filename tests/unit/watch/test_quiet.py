"""When a change has come to its end: stories, then safety and liveness of anything that can happen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from trapd.model import DiskState
from trapd.watch.quiet import SOON, Finding, Quiet, Verdict

QUIET, CEILING = 2.0, 20.0


def whole(fingerprint: str = "one", age: float = math.inf) -> Finding:
    return Finding(Verdict.WHOLE, fingerprint=fingerprint, age=age)


def unfinished(reason: str = "pip is at work", fingerprint: str = "") -> Finding:
    return Finding(Verdict.UNFINISHED, reason, fingerprint)


def look(quiet: Quiet, finding: Finding, *, at: float | None = None) -> float:
    """Take the look that is due, or one at this time; returns when."""
    began = quiet.due if at is None else at
    assert began is not None
    quiet.looked(began, began + 0.01, finding)
    return began


def settled() -> Quiet:
    quiet = Quiet(QUIET, CEILING, 0)
    look(quiet, whole())
    return quiet


def test_what_is_whole_at_the_start_settles_at_once() -> None:
    quiet = Quiet(QUIET, CEILING, 100)
    assert quiet.due == 100
    look(quiet, whole())
    assert (quiet.state, quiet.reason, quiet.due) == (DiskState.SETTLED, "", None)


def test_files_written_just_before_the_start_have_their_quiet_period_first() -> None:
    quiet = Quiet(QUIET, CEILING, 100)
    look(quiet, whole(age=0.5))
    assert (quiet.state, quiet.reason) == (DiskState.CHANGING, "files were written a moment ago")
    assert look(quiet, whole(age=2.0)) == pytest.approx(101.5)
    assert quiet.state is DiskState.SETTLED


def test_an_event_unsettles_and_one_look_early_and_one_at_the_end_of_the_quiet_period_settle_again() -> None:
    quiet = settled()
    quiet.event(10, "trap/run.py changed")
    assert (quiet.state, quiet.reason) == (DiskState.CHANGING, "trap/run.py changed")
    assert look(quiet, whole("two")) == 11
    assert quiet.state is DiskState.CHANGING
    assert look(quiet, whole("two")) == 12
    assert quiet.state is DiskState.SETTLED


def test_every_event_starts_the_quiet_period_again() -> None:
    quiet = settled()
    for at in (10, 10.9, 11.8, 12.7):
        quiet.event(at, "x")
        assert quiet.due == at + 1
    look(quiet, whole("two"))
    quiet.event(14.6, "x")
    look(quiet, whole("two"), at=14.7)
    assert quiet.state is DiskState.CHANGING
    assert quiet.due == pytest.approx(16.6)


def test_an_event_during_the_last_look_makes_it_count_for_nothing() -> None:
    quiet = settled()
    quiet.event(10, "x")
    look(quiet, whole("two"))
    quiet.event(12.005, "x")
    quiet.looked(12, 12.01, whole("two"))
    assert quiet.state is DiskState.CHANGING
    assert quiet.due == pytest.approx(13.005)


def test_what_a_disturbed_look_saw_is_not_compared_with() -> None:
    quiet = settled()
    quiet.event(10, "x")
    quiet.event(11.005, "x")
    quiet.looked(11, 11.01, whole("two"))
    look(quiet, whole("three"))
    assert quiet.due == pytest.approx(13.005), "the difference is explained by the event that was heard"


def test_a_look_by_request_settles_nothing_before_the_quiet_period_is_over() -> None:
    quiet = settled()
    quiet.event(10, "x")
    for at in (10, 10.5, 11.99):
        look(quiet, whole("two"), at=at)
        assert quiet.state is DiskState.CHANGING
    assert look(quiet, whole("two")) == 12
    assert quiet.state is DiskState.SETTLED


def test_unfinished_work_is_looked_at_every_quiet_period_and_broken_at_the_ceiling() -> None:
    quiet = settled()
    quiet.event(10, "x")
    looks = []
    while quiet.state is DiskState.CHANGING:
        looks.append(look(quiet, unfinished()))
    assert looks[:3] == [11, 12, pytest.approx(14.01)]
    assert looks[-1] == 30
    assert (quiet.state, quiet.reason, quiet.due) == (DiskState.BROKEN, "pip is at work", None)


def test_a_trickle_that_never_ends_is_broken_at_the_ceiling_and_says_what_began_it() -> None:
    quiet = settled()
    for tenth in range(100, 301, 4):
        quiet.event(tenth / 10, f"file {tenth} changed")
    assert quiet.due == 30
    look(quiet, whole("two"))
    assert quiet.state is DiskState.BROKEN
    assert quiet.reason == "files are still being changed after 20 s; the first was: file 100 changed"
    quiet.event(31, "x")  # the same trickle goes on: the ceiling does not begin again
    assert quiet.state is DiskState.BROKEN
    look(quiet, whole("three"))
    look(quiet, whole("three"))
    assert quiet.state is DiskState.SETTLED


def test_what_only_another_change_can_cure_is_broken_after_the_quiet_period() -> None:
    quiet = settled()
    quiet.event(10, "x")
    wrong = Finding(Verdict.BROKEN, "trap cannot be found")
    look(quiet, wrong)
    assert quiet.state is DiskState.CHANGING
    look(quiet, wrong)
    assert (quiet.state, quiet.reason, quiet.due) == (DiskState.BROKEN, "trap cannot be found", None)


def test_an_event_after_a_breakdown_gives_a_new_ceiling() -> None:
    quiet = settled()
    quiet.event(10, "x")
    while quiet.state is DiskState.CHANGING:
        look(quiet, unfinished())
    quiet.event(50, "repaired")
    assert (quiet.state, quiet.reason) == (DiskState.CHANGING, "repaired")
    look(quiet, unfinished())
    look(quiet, whole("two"))
    assert quiet.state is DiskState.SETTLED


def test_a_regular_look_that_finds_other_content_counts_as_an_event() -> None:
    quiet = settled()
    look(quiet, whole("one"), at=300)
    assert quiet.state is DiskState.SETTLED
    look(quiet, whole("two"), at=600)
    assert (quiet.state, quiet.reason) == (DiskState.CHANGING, "files changed")
    look(quiet, whole("two"))
    assert quiet.state is DiskState.SETTLED


def test_content_that_changes_unheard_between_two_looks_starts_the_quiet_period_again() -> None:
    quiet = settled()
    quiet.event(10, "x")
    look(quiet, whole("two"))
    look(quiet, whole("three"))
    assert quiet.state is DiskState.CHANGING
    assert quiet.due == pytest.approx(14)


def test_somebody_elses_lock_does_not_unsettle_what_is_as_it_was() -> None:
    quiet = settled()
    look(quiet, unfinished("dpkg is at work", "one"), at=300)
    assert quiet.state is DiskState.SETTLED


def test_a_breakdown_that_nobody_heard_is_found_by_the_regular_look() -> None:
    quiet = settled()
    look(quiet, Finding(Verdict.BROKEN, "trap cannot be found"), at=300)
    assert quiet.state is DiskState.BROKEN
    look(quiet, whole("one"), at=420)
    assert quiet.state is DiskState.SETTLED


def vouched_for(fingerprint: str) -> Finding:
    return Finding(Verdict.WHOLE, fingerprint=fingerprint, facts=True)


def upgraded() -> Quiet:
    """An installer that ended at 11 left what is tentative now."""
    quiet = settled()
    quiet.event(10, "x")
    quiet.hurry(11)
    assert look(quiet, vouched_for("two")) == 11
    return quiet


def test_what_an_installer_left_is_looked_at_when_it_ends_and_is_tentative_until_the_quiet_period_is_over() -> None:
    quiet = upgraded()
    assert (quiet.state, quiet.reason) == (DiskState.TENTATIVE, "")
    assert look(quiet, vouched_for("two")) == 13
    assert quiet.state is DiskState.SETTLED
    assert quiet.due is None


def test_the_quiet_period_runs_from_the_end_of_an_installer_and_one_that_follows_is_seen_before_it_writes() -> None:
    quiet = upgraded()
    assert look(quiet, unfinished("pip is running", "two")) == 13
    assert (quiet.state, quiet.reason) == (DiskState.CHANGING, "pip is running")
    quiet.event(16, "what it writes")
    quiet.hurry(17)
    assert look(quiet, vouched_for("three")) == 17
    assert quiet.state is DiskState.TENTATIVE
    assert look(quiet, vouched_for("three")) == 19
    assert quiet.state is DiskState.SETTLED


def test_without_an_installer_nothing_is_tentative() -> None:
    quiet = settled()
    quiet.event(10, "x")
    look(quiet, vouched_for("two"))
    assert quiet.state is DiskState.CHANGING


def test_what_no_installer_vouches_for_is_not_tentative() -> None:
    quiet = settled()
    quiet.event(10, "x")
    quiet.hurry(10.5)
    assert look(quiet, whole("two")) == 10.5
    assert quiet.state is DiskState.CHANGING


def test_late_events_of_what_is_tentative_only_prolong_the_quiet_period() -> None:
    quiet = upgraded()
    quiet.event(11.5, "x")
    assert quiet.state is DiskState.TENTATIVE
    quiet.event(12.505, "x")
    quiet.looked(12.5, 12.51, vouched_for("two"))
    assert quiet.state is DiskState.TENTATIVE, "though the look was disturbed"
    look(quiet, vouched_for("two"))
    assert look(quiet, vouched_for("two")) == pytest.approx(14.505)
    assert quiet.state is DiskState.SETTLED


def test_a_look_that_is_disturbed_is_taken_again_soon() -> None:
    quiet = settled()
    quiet.event(10, "x")
    quiet.hurry(11)
    quiet.event(11.005, "a late event")
    quiet.looked(11, 11.01, vouched_for("two"))
    assert quiet.state is DiskState.CHANGING
    assert look(quiet, vouched_for("two")) == pytest.approx(11.005 + SOON)
    assert quiet.state is DiskState.TENTATIVE


@pytest.mark.parametrize(
    "finding", [unfinished(fingerprint="two"), whole("two"), Finding(Verdict.BROKEN, "trap cannot be found")]
)
def test_what_is_tentative_is_so_no_more_when_a_look_says_otherwise(finding: Finding) -> None:
    quiet = upgraded()
    quiet.event(11.5, "x")
    look(quiet, finding, at=12)
    assert quiet.state is DiskState.CHANGING


def test_a_second_installer_leaves_something_else_that_is_tentative() -> None:
    quiet = upgraded()
    quiet.event(11.5, "x")
    quiet.hurry(11.8)
    assert look(quiet, vouched_for("three")) == 11.8
    assert quiet.state is DiskState.TENTATIVE
    assert look(quiet, vouched_for("three")) == 13.8
    assert quiet.state is DiskState.SETTLED


def test_an_installer_that_ends_before_its_events_are_heard_is_looked_after_soon() -> None:
    quiet = settled()
    quiet.hurry(10)
    assert quiet.due is None
    quiet.event(10.4, "x")
    assert look(quiet, vouched_for("two")) == 10.4 + SOON
    assert quiet.state is DiskState.TENTATIVE


def test_an_installer_that_changed_nothing_vouches_for_nothing_later() -> None:
    quiet = settled()
    quiet.hurry(10)
    quiet.event(20, "an editor's work")
    assert look(quiet, vouched_for("two")) == 21
    assert quiet.state is DiskState.CHANGING


def test_what_is_tentative_breaks_at_the_ceiling_where_events_never_end() -> None:
    quiet = upgraded()
    for tenth in range(115, 301, 5):
        quiet.event(tenth / 10, "x")
    look(quiet, vouched_for("two"), at=30)
    assert quiet.state is DiskState.BROKEN


# --- anything that can happen ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Something happens to the disk, heard or not, and leaves it in this state."""

    after: float  # seconds since the change before
    verdict: Verdict
    heard: bool
    delay: float  # until it is heard
    installed: bool = False  # by an installer, which vouches for it


changes = st.lists(
    st.builds(
        Change,
        after=st.sampled_from([0.0, 0.1, 0.9, 1.0, 1.5, 2.0, 2.1, 5.0, 19.9, 20.0, 45.0]),
        verdict=st.sampled_from(Verdict),
        heard=st.booleans(),
        delay=st.sampled_from([0.0, 0.0, 0.005, 0.5]),
        installed=st.booleans(),
    ),
    max_size=25,
)


@dataclass
class World:
    """Plays changes to a ``Quiet``, takes every look that is due, and checks each step."""

    changes: list[Change]
    duration: float  # of a look
    now: float = 0.0
    heard: list[float] = field(default_factory=list)
    looks: int = 0
    states: set[DiskState] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.quiet = Quiet(QUIET, CEILING, 0.0)
        at = 0.0
        self.happens = [(at := at + change.after, number, change) for number, change in enumerate(self.changes)]
        self.to_hear = sorted(at + change.delay for at, _, change in self.happens if change.heard)
        self.changing_since: float | None = 0.0

    def finding(self, at: float) -> Finding:
        verdict, mark, facts = Verdict.WHOLE, "start", False
        for when, number, change in self.happens:
            if when <= at:
                verdict, mark, facts = change.verdict, str(number), change.installed
        return Finding(
            verdict, "" if verdict is Verdict.WHOLE else "not whole", mark, facts=facts and verdict is Verdict.WHOLE
        )

    def hear_until(self, at: float) -> None:
        while self.to_hear and self.to_hear[0] <= at:
            self.now = self.to_hear.pop(0)
            self.heard.append(self.now)
            self.quiet.event(self.now, "x")
            if any(change.installed for at, _, change in self.happens if at <= self.now):
                self.quiet.hurry(self.now)
            self.check()

    def take_look(self, began: float) -> None:
        before, finding = self.quiet.state, self.finding(began)
        self.hear_until(began + self.duration)
        self.quiet.looked(began, began + self.duration, finding)
        self.now, self.looks = began + self.duration, self.looks + 1
        if self.quiet.state is DiskState.SETTLED and before is not DiskState.SETTLED:
            assert finding.verdict is Verdict.WHOLE
            assert all(heard + QUIET <= began for heard in self.heard), "settled within the quiet period of an event"
        if self.quiet.state is DiskState.TENTATIVE and before is not DiskState.TENTATIVE:
            assert finding.facts
            assert all(heard < began for heard in self.heard), "of a look that was disturbed"
        self.check()

    def check(self) -> None:
        self.states.add(self.quiet.state)
        if self.quiet.state not in (DiskState.CHANGING, DiskState.TENTATIVE):
            self.changing_since = None
        elif self.changing_since is None:
            self.changing_since = self.now
        else:
            assert self.now <= self.changing_since + CEILING + 2 * self.duration, "neither settles nor breaks"

    def play(self, until: Callable[[], bool]) -> None:
        while not until():
            due = self.quiet.due
            if self.to_hear and (due is None or self.to_hear[0] < due):
                self.hear_until(self.to_hear[0])
            elif due is not None:
                self.take_look(max(self.now, due))
            else:
                return


@given(changes=changes, duration=st.sampled_from([0.0, 0.01, 0.7, 3.0]))
def test_it_never_settles_too_soon_and_never_waits_for_ever(changes: list[Change], duration: float) -> None:
    world = World(changes, duration)
    world.play(until=lambda: False)
    assert world.looks <= 3 * len(changes) + 3 + 2 * world.now / QUIET, "looks without end"
    # whatever was never heard is found by a regular look, and then it comes to an end as well
    world.take_look(max(world.now, sum(change.after for change in changes)) + 300)
    world.play(until=lambda: False)
    last = world.finding(world.now).verdict
    assert world.quiet.state in (DiskState.SETTLED, DiskState.BROKEN)
    assert last is not Verdict.WHOLE or world.quiet.state is DiskState.SETTLED
    event(f"ends {world.quiet.state.value}")
    event(f"passes through {len(world.states)} states")


@given(changes=changes)
def test_what_settles_is_what_is_there(changes: list[Change]) -> None:
    """If every change is heard without delay, the end says exactly what the last change left."""
    world = World([Change(c.after, c.verdict, heard=True, delay=0) for c in changes], 0.01)
    world.play(until=lambda: False)
    last = world.finding(world.now).verdict
    assert world.quiet.state is (DiskState.SETTLED if last is Verdict.WHOLE else DiskState.BROKEN)
