"""A steady load for the sample application, and what became of it.

The submitter is a process of its own, so that nothing a test does delays it. It sends at fixed times: half of the busy
time goes to tasks of 200 ms, half to tasks of 5 to 10 s, in a fixed order, so two runs send the same. What became of
the tasks is read from the ledger that the tasks write, not from what any supervisor says.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from celery.exceptions import TimeoutError as NoAnswerError

from tests.support import sample
from tests.support.brokers import Broker

ROOT = Path(__file__).parents[2]
SHORT = 0.2
LONG = (5.0, 10.0, 6.0, 9.0, 7.5)  # s; on average 7.5


@dataclass(frozen=True)
class Sent:
    """One task that was submitted; ``answered`` says whether its own result came back."""

    id: str
    at: float
    seconds: float
    answered: bool = False


class Load:
    """The submitter, from ``start`` to ``stop``."""

    def __init__(self, broker: Broker, directory: Path, *, slots: int, share: float = 0.75) -> None:
        self.ledger = directory / "ledger.jsonl"
        self._broker, self._slots, self._share = broker, slots, share
        self._out = directory / "submitter.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        order = {
            "broker": asdict(self._broker),
            "ledger": str(self.ledger),
            "slots": self._slots,
            "share": self._share,
        }
        with self._out.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.load", json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )

    def stop(self, patience: float = 60.0) -> list[Sent]:
        """Stop sending, wait up to ``patience`` s for the answers, return all that was sent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(patience + 30)
        except subprocess.TimeoutExpired:
            self.abandon()
        words = self._out.read_text()
        if self._process.returncode:
            raise RuntimeError(f"the submitter failed:\n{words}")
        return [Sent(**one) for one in json.loads(words.splitlines()[-1])]

    def abandon(self) -> None:
        """End the submitter without asking; harmless if it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def schedule(slots: int, share: float) -> Iterator[tuple[float, float]]:
    """When to send, in seconds from the start, and how long each task is, for ever."""
    busy = slots * share / 2
    every_short, every_long = SHORT / busy, sum(LONG) / len(LONG) / busy
    lengths = itertools.cycle(LONG)
    shorts, longs = itertools.count(), itertools.count()
    next_short, next_long = next(shorts), next(longs)
    while True:
        if next_short * every_short <= next_long * every_long:
            yield next_short * every_short, SHORT
            next_short = next(shorts)
        else:
            yield next_long * every_long, next(lengths)
            next_long = next(longs)


def submit(broker: Broker, ledger: str, slots: int, share: float) -> list[Sent]:
    """Send until SIGTERM, then collect the answers; gives up on those that take longer than a minute after the last."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    app, sent, began = broker.app(), [], time.monotonic()
    for due, seconds in schedule(slots, share):
        while not stopped and (wait := began + due - time.monotonic()) > 0:
            time.sleep(min(wait, 0.2))
        if stopped:
            break
        sent.append((app.send_task(sample.NAP, (seconds, ledger)), time.monotonic(), seconds))
    deadline, answers = time.monotonic() + 60, []
    for result, at, seconds in sent:
        with contextlib.suppress(NoAnswerError):
            result.get(timeout=max(0.1, deadline - time.monotonic()), propagate=False)
        answers.append(Sent(result.id, at, seconds, result.successful()))
    return answers


# --- what became of it ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """Completed tasks in a stretch of time."""

    seconds: float
    completed: int
    longest_gap: float  # between two completions, or between one and the end of the stretch

    @property
    def rate(self) -> float:
        """Completed tasks a second."""
        return self.completed / self.seconds


@dataclass(frozen=True)
class Outcome:
    """An upgrade under load, in figures. Times in seconds."""

    submitted: int
    answered: int
    lost: tuple[str, ...]  # never ended
    twice: tuple[str, ...]  # started more than once
    mixed: tuple[str, ...]  # saw two versions of the code
    versions: dict[str, int]  # version -> tasks ended
    workers: dict[str, int]  # version -> worker processes that ran tasks of it
    before: Span
    during: Span
    first_new: float  # from pip's exit to the first task that started on the new code

    @property
    def rate_kept(self) -> float:
        """The completion rate during the recycle, relative to before."""
        return self.during.rate / self.before.rate

    def __str__(self) -> str:
        versions = ", ".join(f"{count} on {version}" for version, count in sorted(self.versions.items()))
        workers = ", ".join(f"{count} of {version}" for version, count in sorted(self.workers.items()))
        before, during = self.before, self.during
        return "\n".join(
            (
                f"tasks: {self.submitted} submitted, {self.answered} answered; {versions}",
                f"wrong: {len(self.lost)} lost, {len(self.twice)} run twice, {len(self.mixed)} on mixed code",
                f"worker processes: {workers}",
                f"completed: {before.rate:.2f}/s before, {during.rate:.2f}/s during = {self.rate_kept:.3f} of it",
                f"longest gap: {before.longest_gap:.2f} s before, {during.longest_gap:.2f} s during",
                f"recycle: {during.seconds:.1f} s; first task on new code {self.first_new:.2f} s after pip's exit",
            )
        )


def span(ends: Sequence[float], begin: float, end: float) -> Span:
    inside = [at for at in sorted(ends) if begin <= at <= end]
    edges = [begin, *inside, end]
    return Span(end - begin, len(inside), max(later - earlier for earlier, later in itertools.pairwise(edges)))


def outcome(
    sent: Sequence[Sent], ledger: Sequence[sample.Entry], *, new: str, steady_at: float, pip: tuple[float, float]
) -> Outcome:
    """Compare what was sent with what was done. The recycle lasts from pip's start to the old code's last task."""
    starts = [entry for entry in ledger if entry.event == "start"]
    ends = [entry for entry in ledger if entry.event == "end"]
    ended, times = {entry.id for entry in ends}, [entry.at for entry in ends]
    began_new = [entry.at for entry in starts if entry.version == new]
    last_old = max((entry.at for entry in ends if entry.version != new), default=pip[1])
    return Outcome(
        submitted=len(sent),
        answered=sum(one.answered for one in sent),
        lost=tuple(one.id for one in sent if one.id not in ended),
        twice=tuple(id for id, count in Counter(entry.id for entry in starts).items() if count > 1),
        mixed=tuple(entry.id for entry in ends if entry.lazy != entry.version),
        versions=dict(Counter(entry.version for entry in ends)),
        workers=dict(Counter(version for version, _ in {(entry.version, entry.main) for entry in starts})),
        before=span(times, steady_at, pip[0]),
        during=span(times, pip[0], last_old),
        first_new=min(began_new, default=float("inf")) - pip[1],
    )


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    os.environ.pop("CELERY_CONFIG_MODULE", None)
    answers = submit(Broker(**order["broker"]), order["ledger"], order["slots"], order["share"])
    print(json.dumps([asdict(one) for one in answers]))
