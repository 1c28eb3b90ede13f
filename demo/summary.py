"""The end of the demonstration, computed: from the answers, from what the workers wrote down, and from trapd's status.

Pure: no clock, no files. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

from demo.images import Image, shows_transient
from trapd.distribute.ledger import Run
from trapd.distribute.submit import Answer

RECENT = 5.0  # s over which the rate is taken
MOST_GAPS = 3.0  # the longest gap during the recycle may be this many times the longest one before


@dataclass(frozen=True, slots=True)
class Times:
    """When what happened. ``complete`` None: the recycle never came to its end."""

    steady: float  # the workers were warm
    upgrade: float  # pip began
    upgraded: float  # pip ended, and so did the run that held the code: from then on trapd may roll out
    complete: float | None  # trapd says so
    rollouts: int = 1  # that this upgrade has caused


@dataclass(frozen=True, slots=True)
class Tally:
    """The submitted tasks, as the workers' ledger has them; names are task ids."""

    submitted: int
    done: int
    lost: tuple[str, ...]  # no worker finished it
    twice: tuple[str, ...]  # begun more than once
    versions: Mapping[str, int]  # their finished executions on each version of Trap


@dataclass(frozen=True, slots=True)
class Account:
    """The results of the submitted tasks; names are task ids."""

    tally: Tally
    unanswered: tuple[str, ...]  # the submitter got no answer
    failed: tuple[str, ...]  # the task itself failed: why
    gap_before: float  # s
    gap_during: float  # s
    first_new: float | None  # s from the moment at which trapd may roll out to the first task on the new version
    complete: float | None  # s from the same moment to the end of the recycle
    rollouts: int  # that the one upgrade has caused

    @property
    def ratio(self) -> float:
        return self.gap_during / self.gap_before if self.gap_before else float("inf")


@dataclass(frozen=True, slots=True)
class Found:
    """The sources found in one image, over all its tasks."""

    image: Image
    sources: tuple[int, ...]  # each number that was found, once
    transient: bool
    error: str

    @property
    def as_made(self) -> bool:
        return (self.sources, self.transient, self.error) == ((self.image.sources,), self.image.transient, "")


def tally(tasks: Sequence[str], runs: Sequence[Run], gone: Container[int] | None = None) -> Tally:
    """Count what the ledger says of ``tasks``; it has others too, those of the series.

    ``gone``: pids of processes that do not live any more, so that they finish no task; None: nothing runs any more.
    """
    submitted = set(tasks)
    runs = [run for run in runs if run.task in submitted]
    begun = Counter(run.task for run in runs)
    finished = {run.task for run in runs if run.finished is not None}
    coming: set[str] = set()  # tasks that a process runs, or may begin
    if gone is not None:
        coming = {task for task in tasks if not begun[task]} | {run.task for run in runs if run.pid not in gone}
    return Tally(
        submitted=len(tasks),
        done=sum(task in finished for task in tasks),
        lost=tuple(task for task in tasks if task not in finished | coming),
        twice=tuple(task for task in tasks if begun[task] > 1),
        versions=Counter(run.version for run in runs if run.finished is not None),
    )


def rate(runs: Iterable[Run], now: float) -> float:
    """How many tasks were finished per second, over the last ``RECENT`` seconds before ``now``."""
    return sum(run.finished is not None and run.finished > now - RECENT for run in runs) / RECENT


def account(tasks: Sequence[str], answers: Sequence[Answer], runs: Sequence[Run], times: Times, new: str) -> Account:
    """Compare what was submitted with what was answered and with what ran; ``new`` is the version upgraded to."""
    answered = {answer.task for answer in answers}
    ends = sorted(run.finished for run in runs if run.finished is not None)
    on_new = [run.started for run in runs if run.version == new]
    before, during = gaps(ends, times)
    return Account(
        tally=tally(tasks, runs),
        unanswered=tuple(task for task in tasks if task not in answered),
        failed=tuple(answer.error for answer in answers if answer.result is None),
        gap_before=before,
        gap_during=during,
        first_new=min(on_new) - times.upgraded if on_new else None,
        complete=None if times.complete is None else times.complete - times.upgraded,
        rollouts=times.rollouts,
    )


def gaps(ends: Sequence[float], times: Times) -> tuple[float, float]:
    """The longest time without a completed task, before pip began and from then to the end of the recycle.

    A gap that began before pip and ended after it counts as during: better too strict than too kind.
    """
    over = float("inf") if times.complete is None else times.complete
    before = [
        later - earlier for earlier, later in pairwise(ends) if earlier >= times.steady and later <= times.upgrade
    ]
    during = [later - earlier for earlier, later in pairwise(ends) if later > times.upgrade and earlier < over]
    return max(before, default=0.0), max(during, default=0.0)


def found(images: Iterable[Image], answers: Iterable[Answer]) -> list[Found]:
    """Return the findings about each image, from the answers."""
    by_image: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_image[answer.image].append(answer)
    return [_found(image, by_image[image.path]) for image in images]


def _found(image: Image, answers: Sequence[Answer]) -> Found:
    results = [answer.result for answer in answers if answer.result is not None and not answer.error]
    counts = tuple(sorted({len(result["sources"]) for result in results}))
    transient = any(shows_transient(result["sources"]) for result in results)
    return Found(image, counts, transient, next((answer.error for answer in answers if answer.error), ""))


def problems(tasks: Account, images: Sequence[Found], stale: Sequence[str]) -> list[str]:
    """Return why the run is no success; ``stale`` are the workers that are not current, and why."""
    wrong = [
        f"{len(which)} {'task' if len(which) == 1 else 'tasks'} {what}: {', '.join(which[:3])}"
        for what, which in (
            ("lost", tasks.tally.lost),
            ("run twice", tasks.tally.twice),
            ("unanswered", tasks.unanswered),
            ("failed", tasks.failed),
        )
        if which
    ]
    if tasks.complete is None:
        wrong.append("the recycle did not come to its end")
    if tasks.rollouts != 1:
        wrong.append(f"one upgrade caused {tasks.rollouts} rollouts")
    if tasks.gap_before and tasks.ratio > MOST_GAPS:
        wrong.append(
            f"the longest gap during the recycle, {tasks.gap_during:.2f} s, is more than {MOST_GAPS:.0f} times the "
            f"longest one before, {tasks.gap_before:.2f} s"
        )
    if not tasks.gap_before:
        wrong.append("no task was completed before the upgrade")
    wrong += [f"worker {words}" for words in stale]
    wrong += [f"{one.image.path}: {_sources(one)}, not as made" for one in images if _made(one) and not one.as_made]
    return wrong


def _made(one: Found) -> bool:
    return one.image.sources is not None


def lines(tasks: Account, images: Sequence[Found], old: str, new: str) -> list[tuple[str, str]]:
    """The summary, as (what, figure)."""
    return [
        ("tasks submitted", str(tasks.tally.submitted)),
        ("done", str(tasks.tally.done)),
        ("lost", str(len(tasks.tally.lost))),
        ("run twice", str(len(tasks.tally.twice))),
        ("unanswered", str(len(tasks.unanswered))),
        (f"ran on trap {old}", str(tasks.tally.versions.get(old, 0))),
        (f"ran on trap {new}", str(tasks.tally.versions.get(new, 0))),
        ("longest gap without a completed task, before", _seconds(tasks.gap_before)),
        ("the same during the recycle", f"{_seconds(tasks.gap_during)}  ({tasks.ratio:.1f} times)"),
        (f"from the run's end to the first task on {new}", _seconds(tasks.first_new)),
        (f"from the run's end to all workers on {new}", _seconds(tasks.complete)),
        ("rollouts for the one upgrade", str(tasks.rollouts)),
        *_images(images),
    ]


def _images(images: Sequence[Found]) -> list[tuple[str, str]]:
    made = [one for one in images if _made(one)]
    rest = [(f"sources in {PurePath(one.image.path).name}", _sources(one)) for one in images if not _made(one)]
    if not made:
        return rest
    counts = sorted({count for one in made for count in one.sources})
    right = sum(one.as_made for one in made)
    seen = [str(number) for number, one in enumerate(made, 1) if one.transient]
    span = f"{counts[0]} to {counts[-1]}" if counts else "none"
    return [
        ("sources found per image", f"{span}  ({right} of {len(made)} images exactly as made)"),
        ("the transient was seen in images", f"{', '.join(seen) or 'none'}  (of {len(made)})"),
        *rest,
    ]


def _sources(one: Found) -> str:
    return one.error or " or ".join(map(str, one.sources)) or "no answer"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"
