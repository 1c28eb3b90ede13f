"""The course of the demonstration: a steady stream of images, an upgrade in its middle, and an account at the end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle

from demo import status, summary
from demo.images import Image
from demo.pipeline import Outcome, Pipeline
from demo.processes import DemoError
from demo.show import Show
from demo.view import View
from demo.world import World
from trapd.distribute.submit import Answer, Submitter

OLD, NEW = "1.3.0", "1.4.0"
RATE, JITTER = 5.0, 0.3  # images per second, where nobody asks for another rate; each pause is this part off
STEADY, AFTER = 20.0, 15.0  # s of work before the upgrade, and after the recycle
START_PATIENCE, ROLLOUT_PATIENCE, ANSWER_PATIENCE = 600.0, 600.0, 60.0  # s
COUNT_EVERY = 1.0  # s between two looks at the workers' ledger: each takes 7 ms for 620 tasks


class Drive:
    """One run, in one thread: ``step`` does what is due, and all waiting consists of steps."""

    def __init__(self, world: World, show: Show, images: Sequence[Image], submitter: Submitter, rate: float) -> None:
        self.world, self.show, self.submitter, self.rate = world, show, submitter, rate
        self.view = View()
        self.status: status.Status | None = None
        self.tasks: list[str] = []
        self.answers: list[Answer] = []
        self.images = images
        self.pipeline = Pipeline(world, images)
        self.outcome: Outcome | None = None  # of the run of the series
        self.waited = 0.0  # s for which the upgrade waited for the run
        self._next_image = cycle(images)
        self._due: float | None = None  # when to send the next image; None: not now
        self._count_at = 0.0  # of CLOCK_MONOTONIC
        self._starts: dict[str, float | None] = {}
        # Workers poll the broker of files every 0.1 s: at fixed times, the same one would come first again and again.
        self._chance = random.Random(1)

    def run(self) -> tuple[summary.Times, list[str]]:
        """The whole course. Returns when what happened, and the workers that are stale at the end."""
        self.stage("starting the workers")
        self.world.start_trapd()
        self.until(lambda: self._settled(OLD), START_PATIENCE, "the workers did not become ready")
        self.stage("trap-run on the same images, for a database to compare with")
        self.pipeline.reference_ended(self._finish("trap-run", self.pipeline.begin_reference))
        self.stage("working")
        self._due = time.monotonic()
        self.until(lambda: bool(self.answers), ANSWER_PATIENCE, "no image was answered")
        steady = time.time()
        self._pass(STEADY)
        times = self._upgrade(steady)
        self.stage(f"working on {NEW}")
        self._pass(AFTER)
        self._due = None
        self.stage("gathering the last answers")
        self._gather_the_rest()
        stale = self._stale(NEW)
        self.stage("stopping")
        self.world.stop_trapd(self._show)
        return times, stale

    def _finish(self, name: str, begin: Callable[[], None]) -> int:
        """Begin a child and work until it has ended. Returns its exit status."""
        begin()
        self.until(lambda: self.world.processes.ended(name) is not None, START_PATIENCE, f"{name} did not end")
        status = self.world.processes.ended(name)
        assert status is not None
        return status

    def _upgrade(self, steady: float) -> summary.Times:
        rollouts = self.status.rollout_id if self.status else 0
        self.stage(f"trapctl run: Trap's whole pipeline on {self.pipeline.total} images")
        self.pipeline.begin()
        self.view.series = (0, self.pipeline.total)
        self.until(self._pinned, ANSWER_PATIENCE, "the run did not begin")
        self.stage(f"pip install trap=={NEW}, while the run goes on")
        began = time.time()
        pip = self.world.trap.upgrade(NEW)
        self.until(lambda: pip.poll() is not None, START_PATIENCE, "pip did not end")
        ended = time.time()
        self.world.trap.upgraded()
        self.show.event(f"pip has ended after {ended - began:.1f} s")
        self.stage("the upgrade waits for the end of the run")
        status = self._finish("series", lambda: None)
        ran, self.view.series = time.time(), None
        self.outcome, self.waited = self.pipeline.outcome(status), ran - ended
        ended = max(ended, ran)
        self.show.event(f"the run has ended with status {status}")
        self.stage("trapd recycles the workers")
        self.until(lambda: self._settled(NEW), ROLLOUT_PATIENCE, "the recycle did not come to its end")
        now = self.status
        assert now is not None
        return summary.Times(steady, began, ended, now.rollout_ended or time.time(), now.rollout_id - rollouts)

    def _pinned(self) -> bool:
        return bool(self.status and self.status.pins) or self.world.processes.ended("series") is not None

    def _gather_the_rest(self) -> None:
        deadline = time.monotonic() + ANSWER_PATIENCE
        while self.submitter.waiting and time.monotonic() < deadline:  # what is missing then is unanswered
            self.step()

    def _settled(self, version: str) -> bool:
        if self.status is None:
            return False
        if self.status.failed:
            raise DemoError(f"cannot go on: {self.status.failed}\n{self.world.logs()}")
        return self.status.settled_on(version)

    def _stale(self, version: str) -> list[str]:
        """Ask once more: a worker that is not current, or one too few."""
        last = status.Status.of(self.world.wait_for_status(ANSWER_PATIENCE, self._show))
        stale = [
            f"{one.name} is {one.state} and {one.code}, on trap {one.version}"
            for one in last.workers
            if (one.state, one.code, one.version) != ("ready", "current", version)
        ]
        if len(last.workers) != last.wanted:
            stale.append(f"number: {len(last.workers)} instead of {last.wanted}")
        return stale

    # -- waiting ---------------------------------------------------------------------------------------------------

    def stage(self, words: str) -> None:
        self.view.stage, self.view.began, self.view.part = words, time.time(), None
        self.show.event(words)

    def until(self, done: Callable[[], bool], patience: float, otherwise: str) -> None:
        """Work until ``done``. Raises DemoError after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while not done():
            if time.monotonic() > deadline:
                raise DemoError(f"cannot go on: {otherwise} in {patience:.0f} s\n{self.world.logs()}")
            self.step()

    def _pass(self, seconds: float) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            self.view.part = passed / seconds
            self.step()

    def step(self) -> None:
        """Submit the images that are due, gather answers, ask trapd for its status, and show it. Takes up to 50 ms."""
        self.world.processes.check()
        now = time.monotonic()
        if self._due is not None and now >= self._due:
            self.tasks.append(self.submitter.send(next(self._next_image).path))
            pause = self._chance.uniform(1 - JITTER, 1 + JITTER) / self.rate
            self._due = max(self._due + pause, now)  # late once is late once: no burst afterwards
        self.answers += self.submitter.gather(0.05)
        if not self.submitter.waiting:
            time.sleep(0.05)
        self._ask()
        self._show()

    def _show(self) -> None:
        self._count()
        self.show.update(self.view)

    def _count(self) -> None:
        now = time.monotonic()
        if self.tasks and now >= self._count_at:
            runs, gone = self.world.runs_and_gone()
            self.view.tasks, self.view.rate = summary.tally(self.tasks, runs, gone), summary.rate(runs, time.time())
            if self.view.series:
                self.view.series = (self.pipeline.answered(), self.pipeline.total)
            self._count_at = now + COUNT_EVERY

    def _ask(self) -> None:
        if answer := self.world.status.look():
            new = status.Status.of(answer)
            for words in status.changes(self.status, new):
                self.show.event(words)
            self.status = self.view.status = new
        if self.status and self.status.ready_workers - self._starts.keys() and (answer := self.world.events.look()):
            self._starts = status.starts(answer)
            self.view.last_start = next(filter(None, reversed(self._starts.values())), None)
