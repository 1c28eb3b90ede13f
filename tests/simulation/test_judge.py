"""The judge of tasks: how often it is wrong, per rollout, and how soon it is right."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from random import Random
from statistics import median

import pytest

from tests.support.repetitions import LONG, times
from trapd.rollout.judge import (
    COMPARISON,
    WRONG,
    Evidence,
    Outcomes,
    Word,
    chance,
    compare,
    last_word,
    limit,
    needed_alone,
    suspicious,
)
from trapd.rollout.trial import MOST_WORDS

NAMES = 50
TASKS = [f"task {number}" for number in range(NAMES)]
BROKEN = TASKS[0]
CANARY, WITNESS = 0, 1  # workers' numbers
LAST = 100  # tasks of a name that the old code's figures are of; a retrial is over after so many


@dataclass(frozen=True)
class Row:
    """``others``: old workers beside the canary; 0: none has room, so one is started where something is suspected.

    ``rate``: of failures, of old and new code. ``bursts``: of 1,000 messages so many are the first of a burst of 100
    bad inputs. ``skew``: of task names (0: all alike, 1: as in Zipf's law). ``prefetch``: messages that a worker
    holds. ``tasks``: that the canary ends. ``group``: tasks of one root, which all fail or none. ``before``: the rate
    of failures before the rollout, if that was another.
    """

    others: int
    rate: float = 0.01
    bursts: float = 0.0
    skew: float = 1.0
    prefetch: int = 1
    tasks: int = 200
    group: int = 1
    before: float | None = None


@dataclass
class Side:
    """Each of its workers counts the failures of one root once."""

    succeeded: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    known: dict[str, set[tuple[int, int]]] = field(default_factory=dict)  # task -> worker and root of its failures

    def add(self, task: str, *, bad: bool, worker: int, root: int) -> None:
        known = self.known.setdefault(task, set())
        if bad and (worker, root) not in known:
            known.add((worker, root))
            self.failed[task] += 1
        elif not bad:
            self.succeeded[task] += 1

    def clear(self, task: str) -> None:
        self.failed[task] = self.succeeded[task] = 0
        self.known[task] = set()

    def of(self, task: str) -> Outcomes:
        return _counted(self.succeeded[task] + self.failed[task], self.failed[task])


@dataclass(frozen=True)
class Retrial:
    number: int
    since: int  # messages that were delivered before
    until: int | None = None  # and when it was found to speak against the new code; later ones are the old code's alone


class Rollout:
    """One canary at work. ``broken``: a task that its code always fails."""

    def __init__(self, row: Row, seed: int, broken: str | None = None) -> None:
        self.row, self.random, self.broken = row, Random(seed), broken
        self.weights = [*accumulate(1 / (rank + 1) ** row.skew for rank in range(NAMES))]
        self.messages = self._messages()
        self.new, self.old, self.alone, self.before = Side(), Side(), Side(), Side()
        self.seen: Counter[str] = Counter()  # tasks that ended on the canary
        self.retrials: dict[str, Retrial] = {}
        self.judged: set[str] = set()  # names that are tried no more
        self.words: Counter[str] = Counter()  # last words of the old code on a name
        self.number = self.delivered = 0
        self.abstained = False
        self.found: Evidence | None = None  # since when the old code takes the tasks of that name alone
        self.held: dict[int, deque[tuple[int, str, bool]]] = {}
        self.ends: list[tuple[float, int]] = []
        self.now = 0.0
        for task in TASKS:  # what the old code did before
            rate = row.rate if row.before is None else row.before
            bad = sum(self.random.random() < rate for _ in range(LAST))
            self.before.failed[task], self.before.succeeded[task] = bad, LAST - bad
        for worker in range(row.others + 1):
            self._take(worker)

    def _messages(self) -> Iterator[tuple[str, bool]]:
        while True:
            (task,) = self.random.choices(TASKS, cum_weights=self.weights)
            if self.random.random() < self.row.bursts / 1000:
                yield from [(task, True)] * 100
            yield from [(task, self.random.random() < self.row.rate)] * self.row.group

    def _take(self, worker: int) -> None:
        held = self.held.setdefault(worker, deque())
        abstains = worker == CANARY and self.found is not None
        if abstains and not held:
            self.abstained = True
            return
        while not abstains and len(held) < self.row.prefetch:  # at first all at once, later one for each task that ends
            self.delivered += 1
            held.append((self.delivered, *next(self.messages)))
        heapq.heappush(self.ends, (self.now + self.random.expovariate(1.0), worker))

    def run(self) -> Evidence | None:
        while self.seen.total() < self.row.tasks:
            self.now, worker = heapq.heappop(self.ends)
            message, task, bad = self.held[worker].popleft()
            if worker == CANARY:
                bad = bad or task == self.broken
                self.seen[task] += 1
            if evidence := self._judged(worker, message, task, bad=bad):
                return evidence
            if worker == CANARY or self.row.others or self.retrials:
                self._take(worker)
        return None

    def _judged(self, worker: int, message: int, task: str, *, bad: bool) -> Evidence | None:
        side, retrial = self.new if worker == CANARY else self.old, self.retrials.get(task)
        whose = {"worker": worker, "root": (message - 1) // self.row.group}
        if retrial is None:
            self.new.add(task, bad=bad, **whose) if worker == CANARY else None
            if task not in self.judged and suspicious(self.new.of(task), self.before.of(task)):
                self._suspect(task)
            return None
        if message <= retrial.since:
            return None
        if retrial.until is not None:
            if message <= retrial.until:
                side.add(task, bad=bad, **whose)
            elif worker != CANARY:
                self.alone.add(task, bad=bad, **whose)
            return self._last_word(task, retrial)
        side.add(task, bad=bad, **whose)
        if self.found is not None:
            return None
        self.found = compare(task, self.new.of(task), self.old.of(task), retrial.number)
        if self.found is not None:
            self.alone.clear(task)
            self.retrials[task] = replace(retrial, until=self.delivered)
        elif self.new.of(task).ended >= LAST:
            self.judged.add(task)
            self._clear(task)
        return None

    def _last_word(self, task: str, retrial: Retrial) -> Evidence | None:
        whole, alone = Evidence(task, self.new.of(task), self.old.of(task)), self.alone.of(task)
        if alone.ended < needed_alone(whole, self.words[task] + 1) or self._in_hand(task, retrial):
            return None
        if last_word(whole, alone, retrial.number) is Word.CODE:
            return whole
        self.found = None
        self.words[task] += 1
        if self.words[task] == MOST_WORDS:
            self.judged.add(task)
        self._clear(task)
        if self.abstained:
            self.abstained = False
            self._take(CANARY)
        return None

    def _in_hand(self, task: str, retrial: Retrial) -> bool:
        assert retrial.until is not None
        held = [message for held in self.held.values() for message, name, _ in held if name == task]
        return any(retrial.since < message <= retrial.until for message in held)

    def _clear(self, task: str) -> None:
        self.new.clear(task)
        del self.retrials[task]

    def _suspect(self, task: str) -> None:
        self.number += 1
        self.new.clear(task)
        self.old.clear(task)
        if not self.row.others and all(worker != WITNESS for _, worker in self.ends):
            self._take(WITNESS)
        self.retrials[task] = Retrial(self.number, self.delivered)


def _counted(ended: int, failed: int) -> Outcomes:
    return Outcomes(ended - failed, {"KeyError": failed} if failed else {})


# -- wrong -----------------------------------------------------------------------------------------------------------

ROWS = {
    **{
        f"{rate:.0%} fail beside {others}": Row(others, rate)
        for others in (1, 3)
        for rate in (0.0, 0.01, 0.1, 0.3, 0.5)
    },
    "half fail beside nine": Row(9, 0.5),
    "all names alike": Row(3, 0.3, skew=0.0, tasks=1000),
    "one name has most": Row(3, 0.3, skew=3.0, tasks=400),
    "bursts, beside one": Row(1, bursts=5.0),
    "bursts, beside three": Row(3, bursts=5.0),
    "bursts, many": Row(3, 0.1, bursts=20.0),
    "bursts, four reserved": Row(3, bursts=5.0, prefetch=4),
    "bursts, sixteen reserved": Row(3, bursts=5.0, prefetch=16, tasks=400),
    "bursts, sixteen reserved beside one": Row(1, bursts=5.0, prefetch=16, tasks=400),
    "alone, bursts, sixteen reserved": Row(0, bursts=5.0, prefetch=16, tasks=400),
    "workflows, of five, beside nine": Row(9, 0.3, skew=2.0, tasks=400, group=5, before=0.01),
    "workflows, of twenty, beside nine": Row(9, 0.3, skew=2.0, tasks=400, group=20, before=0.01),
    "workflows, of twenty, beside one": Row(1, 0.3, skew=2.0, tasks=400, group=20, before=0.01),
    "workflows, of twenty, alone": Row(0, 0.3, skew=2.0, tasks=400, group=20, before=0.01),
    "alone": Row(0, 0.01),
    "alone, half fail": Row(0, 0.5),
    "alone, bursts": Row(0, bursts=5.0),
    "alone, many bursts": Row(0, 0.1, bursts=20.0, tasks=1000),
}


@pytest.mark.long
@pytest.mark.timeout(7200 if LONG else 60)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_code_that_fails_alike_is_not_rejected(row: Row, record_property: Callable[[str, object], None]) -> None:
    rollouts = times(20, 3000)
    record_property("times", rollouts)
    wrong = sum(Rollout(row, seed).run() is not None for seed in range(rollouts))
    print(f"{wrong} of {rollouts} rejected")
    assert wrong <= WRONG * rollouts


@pytest.mark.long
@pytest.mark.timeout(600 if LONG else 60)
@pytest.mark.parametrize(("part", "rate"), [(0.5, 0.5), (0.5, 0.3), (0.25, 0.3)])
@pytest.mark.parametrize(("retrial", "share"), [(1, 2 / 3), (2, 1 / 6), (7, 1 / 126)])
def test_the_chance_of_a_wrong_rejection_over_all_looks(part: float, rate: float, retrial: int, share: float) -> None:
    """Exactly, of one retrial: every course that the counts can take, with its chance.

    ``part`` of the tasks are the canary's.
    """
    courses, rejected = {(0, 0, 0, 0): 1.0}, 0.0
    steps = [((1, 1, 0, 0), part * rate), ((1, 0, 0, 0), part * (1 - rate))]
    steps += [((0, 0, 1, 1), (1 - part) * rate), ((0, 0, 1, 0), (1 - part) * (1 - rate))]
    for compared in range(1, 80 if LONG else 30):
        after: dict[tuple[int, int, int, int], float] = {}
        for (n, x, m, y), likely in courses.items():
            for (dn, dx, dm, dy), step in steps:
                key = (n + dn, x + dx, m + dm, y + dy)
                after[key] = after.get(key, 0.0) + likely * step
        allowed, courses = limit(compared, retrial), {}
        for (n, x, m, y), likely in after.items():
            if likely < 1e-14:
                continue
            if x * m > y * n and chance(_counted(n, x), _counted(m, y), allowed) <= allowed:
                rejected += likely
            else:
                courses[n, x, m, y] = likely
    print(f"{rejected:.2e} of all rollouts come to the last word")
    assert 0 < rejected < COMPARISON * share


# -- right -----------------------------------------------------------------------------------------------------------

BAD = {"beside one": Row(1), "beside three": Row(3), "beside nine": Row(9), "alone": Row(0)}


@pytest.mark.long
@pytest.mark.parametrize("where", BAD)
def test_code_that_fails_all_of_a_task_is_stopped_soon(
    where: str, record_property: Callable[[str, object], None]
) -> None:
    releases = times(50, 1000)
    record_property("times", releases)
    stopped = []
    for seed in range(releases):
        rollout = Rollout(BAD[where], seed, BROKEN)
        evidence = rollout.run()
        assert evidence is not None
        assert evidence.task == BROKEN
        stopped.append(rollout.seen[BROKEN])
    print(f"median {median(stopped)}, worst {max(stopped)} of {releases}")
    assert median(stopped) <= 10
    assert max(stopped) <= 20
