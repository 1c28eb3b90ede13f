"""New code and a new celeryconfig arrive together, and nobody connects with the old one any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tests.simulation.labour import Labour, stream
from tests.simulation.universe import POOL, Universe
from tests.support.builders import spec
from tests.support.fake_backend import NEVER, Behaviour
from tests.support.fake_snapshots import CONFIG
from tests.support.repetitions import times
from trapd.content import CELERYCONFIG, Content
from trapd.errors import SnapshotError
from trapd.model import Disk, DiskState, FailureKind, InstanceId, RolloutState, TreeFile
from trapd.spec import PoolSpec

GOOD = Behaviour(start=20, drain=10)
RAISES = Behaviour(start=20, failure=FailureKind.CODE)
NO_BROKER = Behaviour(start=20, failure=FailureKind.CODE, summary="AccessRefused: login was refused")
CRASH_LOOP = Behaviour(start=20, crash_after=15)


class Rotating(Universe):
    """A universe in which a generation has code and a celeryconfig, and each celeryconfig may be void."""

    void: frozenset[str] = frozenset()

    def upgrade(self, code: str, config: str, behaviour: Behaviour = GOOD, *, void: str = "") -> None:
        """Both are installed at one stroke; from now on nobody connects by ``void`` any more."""
        self.void |= {void} - {""}
        self.behaviours[code] = behaviour
        self.disk = Disk(
            DiskState.SETTLED,
            fingerprint=f"{code} {config}",
            versions={"pkg": code},
            files=(TreeFile("code/pkg.py", "/site/pkg.py", code), TreeFile(CONFIG, "/etc/celeryconfig.py", config)),
            distributions={"pkg": Content(code, code), CELERYCONFIG: Content("", config)},
            required=("pkg", CELERYCONFIG),
        )
        self._look()

    def pair(self, number: int) -> tuple[str, str]:
        table = self.history.generations()[number].distributions
        return table["pkg"].digest, table[CELERYCONFIG].digest

    def behaviour(self, id: InstanceId) -> Behaviour:
        code, config = self.pair(id.generation)
        if config in self.void or self.outage:
            return NO_BROKER
        return self.behaviours[code]

    def rests_on(self, code: str, config: str, seconds: float = 4 * 3600.0) -> None:
        self.run(seconds)
        assert self.pair(self.controller.state(POOL).wanted or 0) == (code, config)
        self.check_rest()
        self.check_history()


def running(pool: PoolSpec | None = None) -> Rotating:
    universe = Rotating(pool or spec())
    universe.upgrade("one", "old")
    universe.rests_on("one", "old")
    return universe


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("life", [2, 15])
def test_code_that_crashes_in_a_loop_is_taken_back_and_the_void_password_is_not(workers: int, life: float) -> None:
    """Before it was promoted, and in its probation."""
    universe = running(spec(workers))
    universe.upgrade("two", "new", replace(GOOD, crash_after=life), void="old")
    universe.rests_on("one", "new")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_code_that_cannot_start_is_taken_back_and_the_void_password_is_not(workers: int) -> None:
    universe = running(spec(workers))
    universe.upgrade("two", "new", RAISES, void="old")
    universe.rests_on("one", "new")


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("seconds", [10, 30, 60, 70, 80, 100, 150])
def test_undo_at_any_time_leads_to_workers_with_the_new_password(workers: int, seconds: float) -> None:
    universe = running(spec(workers))
    universe.upgrade("two", "new", CRASH_LOOP, void="old")
    universe.run(seconds)
    universe.order("undo", POOL)
    universe.rests_on("one", "new")


@pytest.mark.parametrize("life", [2, 15, NEVER])
def test_a_celeryconfig_that_is_to_blame_is_refused_and_the_old_one_serves(life: float) -> None:
    universe = running()
    universe.upgrade("two", "bad", replace(GOOD, crash_after=life), void="bad")
    universe.rests_on("one", "old")


@pytest.mark.parametrize("behaviour", [GOOD, CRASH_LOOP, RAISES])
def test_an_outage_is_waited_for_whatever_the_celeryconfig(behaviour: Behaviour) -> None:
    universe = running()
    universe.outage = True
    universe.upgrade("two", "new", behaviour)
    universe.run(1800)
    universe.outage = False
    universe.rests_on(*(("two", "new") if behaviour is GOOD else ("one", "new")))
    assert RolloutState.REJECTED not in [r.state for r in universe.history.rollouts(POOL)] or behaviour is not GOOD


TASKS = [f"task{number}" for number in range(20)]


def test_tasks_that_fail_in_the_probation_are_compared_with_the_good_code_under_the_new_password() -> None:
    """Without a worker of the good code beside it nothing could be proved, and trapd did not take it back."""
    universe = running()
    labour = Labour(universe, stream(Random(1), TASKS, 0.01), tasks=TASKS)
    universe.run(300)
    universe.upgrade("two", "new", void="old")
    while universe.history.rollouts(POOL)[0].state is not RolloutState.COMPLETE:
        universe.run(1)
    labour.breaks["two new"] = {TASKS[0]}
    universe.run(900)
    labour.on = False
    failed = universe.history.rollouts(POOL)[0]
    assert failed.state is RolloutState.FAILED
    assert failed.reason.startswith("task0: ")
    universe.rests_on("one", "new")


def test_on_a_full_disk_nothing_stands_in_and_what_is_needed_comes_back_when_there_is_room() -> None:
    universe = running()
    universe.upgrade("two", "new", RAISES, void="old")
    universe.run(15)
    universe.snapshots.failure = SnapshotError("cannot copy generation 1: no space left on device")
    universe.run(1800)
    assert universe.pair(universe.controller.state(POOL).wanted or 0) == ("two", "new"), "it waits"
    universe.snapshots.failure = None
    universe.rests_on("one", "new")


@pytest.mark.long
@pytest.mark.timeout(60 + times(8, 400))
def test_whatever_happens_good_code_with_a_good_celeryconfig_ends_it(
    record_property: Callable[[str, object], None],
) -> None:
    for seed in range(times(8, 400)):
        _life(seed)
    record_property("times", times(8, 400))


def _life(seed: int) -> None:
    """Upgrades, passwords that are replaced, undos, outages and a trapd that is killed; then all faults are over."""
    random = Random(seed)
    universe = Rotating(spec(random.choice((1, 2, 3)), surge=random.choice((0, 1, 2)), unavailable=1), seed)
    universe.upgrade("code0", "config0")
    universe.run(200)
    config, kinds = "config0", (GOOD, RAISES, CRASH_LOOP, replace(GOOD, crash_after=2))
    for number in range(1, 6):
        match random.choice(("upgrade", "upgrade", "upgrade", "undo", "outage", "retry", "kill")):
            case "upgrade":
                before, config = config, random.choice((config, f"config{number}"))
                void = before if config != before and random.random() < 0.7 else ""
                universe.upgrade(f"code{number}", config, random.choice(kinds), void=void)
            case "undo":
                universe.order("undo", POOL)
            case "outage":
                universe.outage = not universe.outage
            case "retry":
                universe.order("retry", [POOL])
            case "kill":
                universe.kill_in = random.randint(1, 30)
        universe.run(random.choice((1.0, 10.0, 30.0, 100.0, 1000.0)))
    universe.outage, universe.kill_in = False, None
    universe.boot_again()
    universe.run(random.choice((0.0, 60.0)))
    universe.upgrade("last", "fresh", void=config)
    universe.rests_on("last", "fresh")
    assert len(universe.snapshots.kept) <= 12, "copies are collected"
