"""What a trigger means for one pool, with its reason. "Nothing" is an answer too, and has one of a few causes.

A trigger is a change on the disk, a reload, or an order (``orders.py``). ``trapd/triggers.py`` carries out what is
decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from enum import StrEnum

from trapd.model import Disk, DiskState, Generation, PoolState, Refusal, Scope
from trapd.rollout import celeryconfig, changes, pin, want
from trapd.rollout.refusals import Candidate, candidate, refusal
from trapd.rollout.want import launch_digest, news
from trapd.spec import PoolSpec

SETTINGS = "settings of the pool changed"
OTHER_CELERYCONFIG = "the celeryconfig changed"
TAKEN_BACK = "taken back: the disk changed again"


class Trigger(StrEnum):
    DISK = "disk"
    RELOAD = "reload"
    RECYCLE = "recycle"
    UNDO = "undo"
    RETRY = "retry"


class Cause(StrEnum):
    """Why a trigger changes nothing."""

    STOPPING = "stopping"  # trapd stops, with its workers
    UNSETTLED = "unsettled"  # what is installed is not whole, or nothing ever was
    SAME = "same"  # the pool wants just that already
    REFUSED = "refused"  # it failed before, or somebody undid it
    NOT_REFUSED = "not refused"  # there is nothing to try again
    PAUSED = "paused"
    PINNED = "pinned"  # a run holds the code
    NO_OTHER = "no other"  # no good generation to go back to
    REJECTED = "rejected"  # nothing to undo: what was installed never served
    FLAWED = "flawed"  # no worker could start from that generation
    APPLICATION = "application"  # what is installed has to be started as another one: no copy can be
    APART = "apart"  # its celeryconfig is tried without its code first
    DISK_FIRST = "disk first"  # what is installed comes with the settings in force


@dataclass(frozen=True, slots=True)
class Nothing:
    """The pool goes on as it is."""

    cause: Cause
    why: str
    refusal: Refusal | None = None  # that makes it so, if one does

    def __str__(self) -> str:
        return f"nothing changes, because {self.why}"


@dataclass(frozen=True, slots=True)
class GoBack:
    """Give up the rollout under way for the last good generation, whose workers still run."""

    generation: int
    why: str

    def __str__(self) -> str:
        return f"back to generation {self.generation}: {self.why}"


@dataclass(frozen=True, slots=True)
class Confirm:
    """The tentative rollout goes on as any other: what it rolls out has settled."""

    generation: int
    why: str

    def __str__(self) -> str:
        return f"the rollout of generation {self.generation} goes on: {self.why}"


@dataclass(frozen=True, slots=True)
class FromDisk:
    """Roll out a new generation of what is installed."""

    why: str

    def __str__(self) -> str:
        return f"a new generation of what is installed: {self.why}"


@dataclass(frozen=True, slots=True)
class CopyOf:
    """Roll out the code of this generation under a new number, with the settings in force.

    ``celeryconfig``: the generation whose celeryconfig the copy gets, or INSTALLED; None: that of its source.
    """

    generation: int
    why: str
    celeryconfig: int | None = None

    def __str__(self) -> str:
        return f"the code of generation {self.generation} under a new number: {self.why}"


@dataclass(frozen=True, slots=True)
class ReturnTo:
    """Roll out this very generation, whose workers may still run."""

    generation: int
    why: str

    def __str__(self) -> str:
        return f"generation {self.generation} again: {self.why}"


@dataclass(frozen=True, slots=True)
class Forgive:
    """Take back what was refused of the installed code, which the disk then decides on; and roll out anew a generation
    whose rollout failed and is held."""

    why: str
    held: int | None = None  # generation

    def __str__(self) -> str:
        return self.why


Intent = Nothing | GoBack | Confirm | FromDisk | CopyOf | ReturnTo | Forgive


@dataclass(frozen=True, slots=True)
class Received:
    """One trigger, who gave it, and what it meant for a pool."""

    wall: float
    trigger: Trigger
    actor: str
    intent: Intent


@dataclass(frozen=True, slots=True)
class Situation:
    """What a trigger meets: one pool, what is installed, and the generations.

    ``application``: as the settings in force name it; ``usable``: generations whose snapshot is there.
    """

    spec: PoolSpec
    state: PoolState
    disk: Disk
    application: str
    generations: Mapping[int, Generation]
    usable: Set[int]
    stopping: bool = False

    @property
    def wanted(self) -> Generation | None:
        return self.generations.get(self.state.wanted or 0)

    @property
    def on_trial(self) -> int | None:
        """The generation that a person means who takes back what is rolled out: no half of it (halves.py)."""
        return self.state.put_aside or self.state.wanted

    @property
    def installed(self) -> Candidate:
        """What is installed, as the settings in force start it."""
        launch = launch_digest(self.spec, self.application)
        return Candidate(self.disk.fingerprint, self.application, launch)

    @property
    def under_way(self) -> bool:
        return self.state.rollout is not None and not self.state.rollout.state.over

    @property
    def at_rest(self) -> bool:
        """Does it run good code, with nothing going on? Only then does code that has not settled start a worker."""
        wanted, state = self.wanted, self.state
        quiet = not (self.under_way or state.paused or self.disk.eager)
        proven = state.wanted == state.last_good and state.wanted in self.usable
        return quiet and proven and wanted is not None and not wanted.eager

    def is_installed(self, number: int | None) -> bool:
        """Is this generation the very code that is installed, under the settings in force?"""
        generation = self.generations.get(number or 0)
        if generation is None or not self.disk.whole:
            return False
        return candidate(generation, self.spec.name) == self.installed

    def as_made(self, generation: Generation) -> Candidate:
        return candidate(generation, self.spec.name)

    def as_copied(self, generation: Generation) -> Candidate:
        """As a copy of it would be: the same application, under the settings and with the celeryconfig in force."""
        copied = celeryconfig.with_other(generation, celeryconfig.installed(self.disk))
        if copied is not generation and celeryconfig.is_code_of(generation, self.disk):
            copied = replace(copied, fingerprint=self.disk.fingerprint)  # then that is what is installed
        return replace(self.as_made(copied), launch=launch_digest(self.spec, generation.application))


# -- what the watch and the settings mean ----------------------------------------------------------------------------


def after_disk(situation: Situation) -> Nothing | GoBack | Confirm | FromDisk:
    """What is installed, as it was last seen. Wanted code without its snapshot speaks for what is installed.

    Code that is tentative begins a rollout only of a pool at rest; such a rollout is confirmed or taken back.
    """
    if situation.stopping:
        return STOPPING
    meant = _after_disk(situation)
    if not isinstance(meant, Nothing) and not _keeps_code(situation, meant):
        return Nothing(Cause.PINNED, pin.sentence(situation.state))
    if want.is_tentative(situation.state):
        return _of_tentative(situation, meant)
    if situation.disk.state is DiskState.TENTATIVE and not isinstance(meant, Nothing) and not situation.at_rest:
        return Nothing(Cause.UNSETTLED, "what is installed counts when the quiet period is over")
    return meant


def _keeps_code(situation: Situation, meant: GoBack | FromDisk) -> bool:
    """Whether this is allowed while runs hold the pool's code: other settings, another celeryconfig, files anew."""
    if not situation.state.pins or situation.wanted is None:
        return True
    if isinstance(meant, GoBack):
        return meant.generation in pin.allowed(situation.state, situation.generations)
    same = situation.wanted.application == situation.application
    return same and celeryconfig.is_code_of(situation.wanted, situation.disk)


def _of_tentative(situation: Situation, meant: Nothing | GoBack | FromDisk) -> Nothing | GoBack | Confirm | FromDisk:
    """Taken back if anything at all is not as it was: what does not count may be what the new code lacked."""
    disk, wanted, good = situation.disk, situation.wanted, situation.state.last_good
    same = isinstance(meant, Nothing) and meant.cause is Cause.SAME and wanted is not None
    if same and wanted is not None and not changes.between(wanted.distributions, disk.distributions):
        return Confirm(wanted.number, "the disk has settled") if disk.state is DiskState.SETTLED else meant
    if isinstance(meant, GoBack) or good is None:
        return meant
    return GoBack(good, f"{TAKEN_BACK}{f' ({disk.reason})' if disk.reason else ''}")


def _after_disk(situation: Situation) -> Nothing | GoBack | FromDisk:
    state, disk = situation.state, situation.disk
    if not disk.whole:
        reason = f": {disk.reason}" if disk.reason else ""
        return Nothing(Cause.UNSETTLED, f"what is installed is {disk.state}{reason}")
    if situation.wanted is not None and situation.wanted.number in situation.usable:
        if situation.is_installed(state.wanted):
            why = f"generation {state.wanted} is what is installed, under the settings in force"
            return Nothing(Cause.SAME, why)
        if refused := _refused(situation, "what is installed", situation.installed) or _undone(situation):
            return refused
    whole_waits = state.put_aside in situation.usable and state.wanted in situation.usable
    if whole_waits and situation.is_installed(state.put_aside):
        why = f"generation {state.put_aside} comes again when its celeryconfig has been tried with the code before"
        return Nothing(Cause.APART, why)
    good = state.last_good
    half_made = state.wanted not in state.good and good in situation.usable
    if half_made and good is not None and situation.is_installed(good):
        return GoBack(good, "the installed code is the last good generation's again")
    if situation.is_installed(state.wanted):
        return FromDisk(f"the files of generation {state.wanted} are damaged or gone")
    same = situation.wanted is not None and situation.wanted.fingerprint == disk.fingerprint
    return FromDisk(SETTINGS if same else news(situation.wanted, disk))


def after_reload(before: Situation, situation: Situation) -> Nothing | CopyOf:
    """Settings in the place of others. What else a reload means, the disk decides."""
    if situation.stopping:
        return STOPPING
    if before.application != situation.application:
        return Nothing(Cause.APPLICATION, "another application is started of what is installed, or not at all")
    if before.installed == situation.installed:
        return Nothing(Cause.SAME, "the settings that its workers have fixed in them are as before")
    return _renewed(situation)


def left_behind(situation: Situation) -> Nothing | CopyOf:
    """Settings in force that the wanted generation does not have: they came while other code was wanted."""
    wanted = situation.wanted
    if situation.stopping:
        return STOPPING
    if situation.disk.state is not DiskState.SETTLED:
        return Nothing(Cause.UNSETTLED, f"what is installed is {situation.disk.state}")
    other = wanted is not None and wanted.fingerprint != situation.disk.fingerprint
    if other and not isinstance(after_disk(situation), Nothing):
        return Nothing(Cause.DISK_FIRST, "what is installed comes first, and with the settings in force")
    renewed = _renewed(situation)
    if isinstance(renewed, CopyOf) and wanted is not None:
        if wanted.number not in situation.usable:
            return Nothing(Cause.FLAWED, f"the snapshot of generation {wanted.number} is not there")
        return _refused(situation, f"generation {wanted.number}", situation.as_copied(wanted)) or renewed
    return renewed


def _renewed(situation: Situation) -> Nothing | CopyOf:
    wanted = situation.wanted
    if wanted is None:
        return unsettled(situation)
    copied, made = situation.as_copied(wanted), situation.as_made(wanted)
    if copied == made:
        return Nothing(Cause.SAME, f"generation {wanted.number} has these settings")
    if copied.fingerprint == made.fingerprint:
        return CopyOf(wanted.number, SETTINGS)
    return CopyOf(
        wanted.number, OTHER_CELERYCONFIG if copied.launch == made.launch else SETTINGS, celeryconfig.INSTALLED
    )


STOPPING = Nothing(Cause.STOPPING, "trapd stops, and its workers with it; start it again first")
_REACHES = {Scope.CODE: "", Scope.APPLICATION: " for this application", Scope.SETTINGS: " under these settings"}


def unsettled(situation: Situation) -> Nothing:
    disk = situation.disk
    return Nothing(Cause.UNSETTLED, f"no code has settled yet ({disk.reason or disk.state})")


def _undone(situation: Situation) -> Nothing | None:
    """Code that a person undid stays undone, whatever becomes of its celeryconfig."""
    wanted = situation.wanted
    if wanted is None or celeryconfig.is_code_of(wanted, situation.disk):
        return None
    for found in situation.state.refused:
        for known in situation.generations.values():
            mine = found.scope is Scope.CODE and known.fingerprint == found.fingerprint
            if mine and celeryconfig.is_code_of(known, situation.disk):
                return Nothing(Cause.REFUSED, f"what is installed was refused before: {found.why}", found)
    return None


def _refused(situation: Situation, what: str, tried: Candidate) -> Nothing | None:
    found = refusal(situation.state, tried)
    if found is None:
        return None
    return Nothing(Cause.REFUSED, f"{what} was refused before{_REACHES[found.scope]}: {found.why}", found)
