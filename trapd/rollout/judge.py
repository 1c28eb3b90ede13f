"""Does new code fail tasks that the old code beside it does not? A pure judge of counts.

It takes two steps. New code whose tasks of one name do worse than the old code's last ones did is *suspected*, no more:
the inputs may be to blame. What is not known of the old code's tasks, as after a reboot, is taken as if none had
failed: a suspicion convicts nobody. From then on the tasks of that name are counted anew, on both sides: a retrial. Old
and new workers take from the same queues at the same time, and which of them takes a message is chance. So given how
many of these tasks ran on each side, and how many of them all failed, the number of failures on the new side has a
known distribution (hypergeometric) whatever makes tasks fail, and however unevenly in time. This is Fisher's exact
test, one-sided. Only tasks that were delivered after the suspicion count: what a worker had reserved is no matter of
chance any more.

The limits are for somebody who looks after each task that ends. tests/simulation/test_judge.py has the chance of a
wrong result, added up exactly over all looks, and the simulated rollouts.

Where workers are idle, a broker serves them in turn, and then nothing is left to chance: of bad and good inputs that
are sent in turn one worker gets the bad ones. So the old code has the last word: it takes the tasks of that name alone
for a while. If it fails them as both codes did together, the inputs are to blame.

By then the tasks that both sides had in hand have ended as well. They belong to the comparison: who counts no more than
what has ended sees the latest messages on the quicker side alone, and when a burst of bad inputs is over the latest are
good. If the old code fails alone far less than it did beside the new code, the inputs are not what they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import ceil, comb

from trapd.work import TaskCounts

WRONG = 1e-3  # of all rollouts may be rejected though both codes fail alike
COMPARISON = 1.2e-2  # of all rollouts may come to the last word though both codes fail alike; it stops nearly all
ALONE = 20  # failures that the last word would show if the inputs were to blame
CHANGED = 1e-2  # chance of figures as far from those before, if the old code's inputs were still the same
SUSPICIOUS = 1e-3  # chance of figures as bad as these, if nothing had changed since the old code's
KNOWN = 50  # tasks of the old code that make its figures; where fewer are known, the others count as good
# The share of a retrial is for its first looks, nearly whole. The limit falls with the square of the tasks compared, so
# all later looks together add little: a limit that stays is passed by chance sooner or later.
_FIRST, _PART = 20, 0.8
_NO_EVIDENCE = frozenset({"SoftTimeLimitExceeded"})  # a person or a drain raised it, or the machine is slow


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the tasks of one name ended on one side. Failures of one root count once in ``failed``."""

    succeeded: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)  # class of the exception -> number

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    @property
    def ended(self) -> int:
        return self.succeeded + self.failures

    @property
    def error(self) -> str:
        """The most frequent class of exceptions; empty if nothing failed."""
        return max(self.failed, key=lambda name: self.failed[name], default="")


@dataclass(frozen=True, slots=True)
class Evidence:
    """That the canary's tasks of one name failed more often than the others' in the same time."""

    task: str
    canary: Outcomes
    others: Outcomes
    who: str = "canary"
    chance: float = 0.0  # of figures as bad as these, were both codes alike

    def __str__(self) -> str:
        canary, others = self.canary, self.others
        return (
            f"{self.task}: {self.who} {canary.failures} of {canary.ended} failed, {canary.error}; "
            f"others {others.failures} of {others.ended} meanwhile"
        )


class Word(Enum):
    """What the old code has said, alone."""

    CODE = "the new code is to blame"
    INPUTS = "the inputs are to blame"
    CHANGED = "the inputs have changed meanwhile"
    EVEN = "with the tasks in hand both codes fail alike"


def outcomes(counts: Iterable[TaskCounts]) -> Outcomes:
    """How the tasks of one name ended, in several workers together. Retries, revokes and soft time limits are no ends
    that count."""
    succeeded, failed = 0, Counter[str]()
    for one in counts:
        succeeded += one.succeeded
        failed.update(one.failed if one.roots is None else one.roots)
    return Outcomes(succeeded, {error: number for error, number in failed.items() if error not in _NO_EVIDENCE})


def latest(counts: Iterable[TaskCounts], most: int) -> Outcomes:
    """How the last tasks of one name ended, in several workers together; see ``of_last``. Of workers of an earlier
    trapd: in the mean since each was started."""
    ended = failed = 0
    for one in counts:
        whole = outcomes([one])
        sums = (whole.ended, whole.failures) if one.latest is None else one.latest
        ended, failed = ended + sums[0], failed + sums[1]
    return of_last(ended, failed, most)


def of_last(ended: int, failed: int, most: int) -> Outcomes:
    """So many tasks; if they are more than ``most``, which is never fewer than ``KNOWN``, their share of it."""
    most = max(most, KNOWN)
    if ended > most:
        ended, failed = most, round(failed * most / ended)
    return Outcomes(ended - failed, {"": failed} if failed else {})


def limit(compared: int, retrial: int) -> float:
    """The chance below which figures of so many tasks, of both sides together, are evidence.

    ``retrial``: the number of this one in its rollout. The first has two thirds of ``COMPARISON``, the second a sixth,
    the third an eighteenth: however many there are, together they have no more than the whole.
    """
    share = 2 / 3 if retrial == 1 else 1 / (3 * retrial * (retrial - 1))
    return COMPARISON * share * _PART * min(1.0, _FIRST / max(compared, 1)) ** 2


def compare(task: str, canary: Outcomes, others: Outcomes, retrial: int = 1) -> Evidence | None:
    """The evidence against the canary, if there is any, of the tasks of one name since its retrial began."""
    allowed = limit(canary.ended + others.ended, retrial)
    found = chance(canary, others, allowed)
    return Evidence(task, canary, others, chance=found) if found <= allowed else None


def needed_alone(evidence: Evidence, tried: int = 1) -> int:
    """How many tasks the old code has to end alone: so many that ``ALONE`` of them fail if the inputs are to blame.

    ``tried``: how often this task is put to the old code by now; a second word has to be surer.
    """
    together = evidence.canary.ended + evidence.others.ended
    return ceil(tried * ALONE * together / (evidence.canary.failures + evidence.others.failures))


def last_word(found: Evidence, alone: Outcomes, retrial: int = 1) -> Word:
    """Who is to blame. ``found``: the whole comparison, with the tasks that were in hand when it ended."""
    if compare(found.task, found.canary, found.others, retrial) is None:
        return Word.EVEN
    if chance(found.others, alone, CHANGED) <= CHANGED:
        return Word.CHANGED
    return Word.INPUTS if alike(found, alone) else Word.CODE


def alike(evidence: Evidence, alone: Outcomes) -> bool:
    """Does the old code alone fail rather as often as both codes did together, than as it did beside the new code?"""
    canary, others = evidence.canary, evidence.others
    together = (canary.failures + others.failures) / (canary.ended + others.ended)
    beside = others.failures / others.ended
    return alone.ended > 0 and alone.failures / alone.ended > (together + beside) / 2


def suspicious(new: Outcomes, before: Outcomes) -> bool:
    """Are the new code's figures of one name worse than those of the old code's last tasks? Then a retrial is due."""
    unknown = max(0, KNOWN - before.ended)
    return chance(new, replace(before, succeeded=before.succeeded + unknown), SUSPICIOUS) <= SUSPICIOUS


def chance(canary: Outcomes, others: Outcomes, enough: float = 1.0) -> float:
    """The chance that the canary's side has at least so many of all failures, were both codes alike.

    Above ``enough`` any number above it may be returned: most looks end with the first term.
    """
    ended, other = canary.ended, others.ended
    bad = canary.failures
    failures = bad + others.failures
    if bad * other <= others.failures * ended:  # no worse than the others
        return 1.0
    term = total = comb(ended, bad) * comb(other, failures - bad) / comb(ended + other, failures)
    for more in range(bad, min(ended, failures)):
        if total > enough:
            break
        term *= (ended - more) * (failures - more) / ((more + 1) * (other - failures + more + 1))
        total += term
    return total
