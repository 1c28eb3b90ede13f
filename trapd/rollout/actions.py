"""What a plan is made of. Each action says why, in words for people; ``apply`` alone carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from trapd.model import InstanceId, RolloutState
from trapd.rollout.gates import Closed


@dataclass(frozen=True, slots=True)
class _OnInstance:
    instance: InstanceId
    why: str
    verb: ClassVar[str]

    def __str__(self) -> str:
        return f"{self.verb} {self.instance}: {self.why}"


class Start(_OnInstance):
    verb = "start"


class Drain(_OnInstance):
    verb = "drain"


class Interrupt(_OnInstance):
    """Raise the soft time limit in the tasks of a drain that takes too long. Once for each drain: see World."""

    verb = "interrupt"


class Kill(_OnInstance):
    verb = "kill"


class Forget(_OnInstance):
    verb = "forget"


@dataclass(frozen=True, slots=True)
class Advance:
    """The rollout enters its next phase."""

    state: RolloutState
    why: str
    verb: ClassVar[str] = "advance"
    instance: ClassVar[InstanceId | None] = None

    def __str__(self) -> str:
        return f"{self.state}: {self.why}"


@dataclass(frozen=True, slots=True)
class _OnRollout:
    generation: int
    why: str
    detail: str = ""
    verb: ClassVar[str]
    instance: ClassVar[InstanceId | None] = None

    def __str__(self) -> str:
        return f"{self.verb} generation {self.generation}: {self.why}"


class Promote(_OnRollout):
    """The canary proved the generation: it is good from now on."""

    verb = "promote"


class Reject(_OnRollout):
    """The generation's own code failed: back to the last good one, and not tried again by itself."""

    verb = "reject"


class Fail(_OnRollout):
    """The rollout stopped making progress after its canary had been good."""

    verb = "fail"


class Doubt(_OnRollout):
    """The generation was promoted, and its workers hang: it is good no more until it proves itself anew."""

    verb = "doubt"


class Finish(_OnRollout):
    """Every wanted worker is on the generation and the old ones are gone."""

    verb = "finish"


class Renew(_OnRollout):
    """The pool is at rest under other settings than those in force: the same code again, with these."""

    verb = "renew"


@dataclass(frozen=True, slots=True)
class TakeApart(_OnRollout):
    """Nothing can be told of this generation: its celeryconfig is tried with the code of ``source`` (halves.py)."""

    source: int = 0  # generation
    verb: ClassVar[str] = "take apart"


class PutTogether(_OnRollout):
    """Its celeryconfig has been tried: this generation once more."""

    verb = "put together"


@dataclass(frozen=True, slots=True)
class Relieve:
    """A round begins in which workers that run and do not serve are replaced (relief.py). ``number``: in a row."""

    at: float
    number: int
    why: str
    verb: ClassVar[str] = "relieve"
    instance: ClassVar[InstanceId | None] = None

    def __str__(self) -> str:
        return f"{self.verb}: {self.why}"


@dataclass(frozen=True, slots=True)
class _OnTask:
    generation: int
    task: str
    why: str
    verb: ClassVar[str]
    instance: ClassVar[InstanceId | None] = None

    def __str__(self) -> str:
        return f"{self.verb} generation {self.generation}: {self.why}"


class Suspect(_OnTask):
    """Tasks of one name fail more often than before: a retrial begins."""

    verb = "suspect"


@dataclass(frozen=True, slots=True)
class Verify(_OnTask):
    """The comparison speaks against the new code: the old code takes these tasks alone."""

    compared: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    verb: ClassVar[str] = "verify"


class Clear(_OnTask):
    """A retrial is over, and has proved nothing."""

    verb = "clear"


Effect = Start | Drain | Interrupt | Kill | Forget
Verdict = Promote | Reject | Fail | Finish | Doubt
Turn = Renew | TakeApart | PutTogether  # each begins a rollout by itself
Action = Effect | Advance | Verdict | Turn | Relieve | Suspect | Verify | Clear


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, when to look again (CLOCK_MONOTONIC; None: only when something changes), and what we wait for."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    waiting: str = ""
    short: str = ""  # of what is waited for: the memory that is missing
    figures: Mapping[str, tuple[int, int]] | None = None  # of the old code, to be remembered: see Rollout.before
    gate: Closed | None = None  # before which the rollout waits for a person
    probations: int | None = None  # to be remembered, if they are other than before: see Rollout.probations
