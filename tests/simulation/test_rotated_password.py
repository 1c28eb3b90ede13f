"""New code and a new celeryconfig arrive together, and nobody connects with the old one any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tests.simulation.universe import POOL, Universe
from tests.support.builders import spec
from tests.support.fake_backend import NEVER, Behaviour
from tests.support.fake_snapshots import CONFIG
from tests.support.repetitions import times
from trapd.content import CELERYCONFIG, Content
from trapd.errors import SnapshotError
from trapd.model import Disk, DiskState, FailureKind, InstanceId, InstanceState, RolloutState, TreeFile
from trapd.spec import PoolSpec, Promotion

GOOD = Behaviour(start=20, drain=10)
RAISES = Behaviour(start=20, failure=FailureKind.CODE)
NO_BROKER = Behaviour(start=20, failure=FailureKind.CODE, summary="AccessRefused: login was refused")
CRASH_LOOP = Behaviour(start=20, crash_after=15)


class Rotating(Universe):
    """A universe in which a generation has code and a celeryconfig, and each celeryconfig may be void."""

    def __init__(self, pool: PoolSpec, seed: int = 0) -> None:
        self.void = frozenset[str]()
        self.needs: dict[str, set[str]] = {}  # celeryconfig -> the codes that can use it, where not all can
        self.undone = False
        super().__init__(pool, seed)

    def upgrade(self, code: str, config: str, behaviour: Behaviour = GOOD, *, void: str = "") -> None:
        """Both are installed at one stroke; from now on nobody connects by ``void`` any more."""
        self.say(f"installed {code} with {config}: {behaviour}; void from now on: {void}")
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

    def _look(self, seen: Disk | None = None) -> None:
        try:
            super()._look(seen)
        except SnapshotError as error:
            self.say(f"not copied: {error}")
            self.at(30.0, self._look)

    def order(self, name: str, *args: object, **more: object) -> None:
        try:
            super().order(name, *args, **more)
        except SnapshotError as error:
            self.say(f"not done: {error}")

    def pair(self, number: int) -> tuple[str, str]:
        table = self.history.generations()[number].distributions
        return table["pkg"].digest, table[CELERYCONFIG].digest

    def pair_on_disk(self) -> tuple[str, str]:
        return self.disk.distributions["pkg"].digest, self.disk.distributions[CELERYCONFIG].digest

    def behaviour(self, id: InstanceId) -> Behaviour:
        if self.outage:
            return super().behaviour(id)
        code, config = self.pair(id.generation)
        if config in self.void:
            return NO_BROKER
        return self.behaviours[code] if code in self.needs.get(config, {code}) else RAISES

    def works(self, code: str, config: str) -> bool:
        usable = code in self.needs.get(config, {code})
        return self.behaviours[code] is GOOD and config not in self.void and usable

    def check_serves(self) -> str:
        """What is installed serves, if it can; else another good code, if any can with a celeryconfig that there is."""
        state, installed = self.controller.state(POOL), self.pair_on_disk()
        good = [self.pair(number) for number in state.good]
        others = [*good, *((code, installed[1]) for code, _ in good)]
        if not self.works(*installed) and not any(self.works(*pair) for pair in others):
            return "nothing can"
        if self.behaviours[self.pair(state.wanted or 0)[0]] is CRASH_LOOP:
            return "promoted before it crashed, and superseded in its probation"
        given_up = any("no progress within" in refused.why for refused in state.refused)
        if given_up and not any(i.state is InstanceState.READY for i in self.backend.seen()):
            return "an undo that was given up in an outage"  # what is proven is compared with nothing
        self.check_rest()
        self.check_history()
        now = self.pair(state.wanted or 0)
        assert self.works(*now), f"serves {now}"
        if now == installed:
            return "installed"
        assert self.undone or not self.works(*installed), f"serves {now}, and {installed} is installed"
        return "another"

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


def test_on_a_full_disk_nothing_is_taken_apart_and_what_is_needed_comes_back_when_there_is_room() -> None:
    universe = running()
    universe.upgrade("two", "new", RAISES, void="old")
    universe.run(15)
    universe.snapshots.failure = SnapshotError("cannot copy generation 1: no space left on device")
    universe.run(1800)
    assert universe.pair(universe.controller.state(POOL).wanted or 0) == ("two", "new"), "it waits"
    universe.snapshots.failure = None
    universe.rests_on("one", "new")


def test_a_half_that_needs_the_new_code_and_an_outage_do_not_keep_the_whole_away() -> None:
    """The new celeryconfig is of use to the new code alone, the old one is void, and the first tries met an outage."""
    universe = running()
    universe.needs["new"] = {"two"}
    universe.outage = True
    universe.upgrade("two", "new", void="old")
    universe.run(900)
    universe.outage = False
    universe.rests_on("two", "new")


@pytest.mark.parametrize("seconds", [5, 45, 90, 1200])
def test_two_upgrades_in_an_outage_and_code_that_cannot_start(seconds: float) -> None:
    universe = running()
    universe.outage = True
    universe.upgrade("two", "new", RAISES, void="old")
    universe.run(seconds)
    universe.upgrade("three", "newer", RAISES, void="new")
    universe.run(3000)
    universe.outage = False
    universe.rests_on("one", "newer")


@pytest.mark.parametrize("seconds", [5, 25, 45, 90, 1200])
def test_the_code_before_is_installed_again_with_the_new_password(seconds: float) -> None:
    universe = running()
    universe.upgrade("two", "new", RAISES, void="old")
    universe.run(seconds)
    universe.upgrade("one", "new")
    universe.rests_on("one", "new")


def test_an_outage_of_hours_is_not_filled_with_rollouts() -> None:
    universe = running()
    universe.outage = True
    universe.upgrade("two", "new", RAISES, void="old")
    universe.run(6 * 3600)
    assert len(universe.history.rollouts(POOL)) < 22
    universe.check_pace()
    universe.outage = False
    universe.rests_on("one", "new")


def half_tried(pool: PoolSpec | None = None) -> Rotating:
    """The code before is rolled out with the new celeryconfig, and what is installed waits."""
    universe = running(pool)
    universe.upgrade("two", "new", RAISES, void="old")
    while universe.controller.state(POOL).put_aside is None:
        universe.run(1)
    return universe


@pytest.mark.parametrize("state", [DiskState.CHANGING, DiskState.BROKEN])
def test_while_the_disk_changes_the_whole_waits_and_trapd_does_not_spin(state: DiskState) -> None:
    universe = half_tried()
    whole = universe.disk
    universe.change("somebody copies files", state)
    universe.run(3600)
    assert universe.pair(universe.controller.state(POOL).wanted or 0) == ("one", "new")
    universe.disk = whole
    universe._look()
    universe.rests_on("one", "new")
    assert RolloutState.REJECTED in [r.state for r in universe.history.rollouts(POOL)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seconds", [1, 5, 25, 50])
def test_an_undo_of_what_is_tried_once_more_holds(workers: int, seconds: float) -> None:
    universe = running(spec(workers))
    universe.outage = True
    universe.upgrade("two", "new", void="old")
    universe.run(1.5)
    universe.outage = False
    while (apart := universe.controller.state(POOL).apart) is None or universe.controller.state(POOL).put_aside:
        universe.run(1)
    universe.run(seconds)
    state = universe.controller.state(POOL)
    assert state.rollout is not None
    assert not state.rollout.state.over, "an undo of what is done is another thing"
    assert state.wanted == apart.whole
    universe.order("undo", POOL)
    universe.rests_on("one", "new")


@pytest.mark.parametrize("seconds", [0, 5, 15])
def test_an_undo_while_the_half_is_tried_keeps_its_canary(seconds: float) -> None:
    """Where a worker of the good generation still serves, that one is wanted again, as ever."""
    universe = half_tried()
    half = universe.controller.state(POOL).wanted
    universe.run(seconds)
    serves = [i.id for i in universe.backend.seen() if i.state is InstanceState.READY and i.id.generation == 1]
    for id in serves[seconds > 0 :]:
        universe.backend.crash(id)
    universe.order("undo", POOL)
    assert universe.controller.state(POOL).wanted == (1 if seconds and serves else half)
    universe.rests_on("one", "new")
    universe.order("retry", [POOL])
    assert universe.pair(universe.controller.state(POOL).wanted or 0) == ("two", "new"), "what was undone is refused"


def test_a_half_that_loses_its_snapshot_does_not_keep_the_whole_away() -> None:
    universe = half_tried()
    universe.behaviours["two"] = GOOD
    universe.snapshots.found[universe.controller.state(POOL).wanted or 0] = "a file differs"
    universe.reboot()
    universe._look()
    universe.rests_on("two", "new")


def test_nobody_has_to_promote_a_half() -> None:
    pool = spec()
    universe = half_tried()
    universe.spec = replace(pool, policy=replace(pool.policy, promote=Promotion.MANUAL))
    universe.triggers.controller.specs = {POOL: universe.spec}
    universe.rests_on("one", "new")


def test_a_pool_that_is_scaled_to_nothing_comes_back_to_what_is_installed() -> None:
    universe = half_tried()
    universe.order("scale", POOL, 0)
    universe.run(3600)
    assert universe.pair(universe.controller.state(POOL).wanted or 0) == ("two", "new")
    universe.order("scale", POOL, 2)
    universe.rests_on("one", "new")


@pytest.mark.parametrize("order", ["recycle", "retry"])
def test_orders_that_make_no_sense_meanwhile_are_refused(order: str) -> None:
    universe = half_tried()
    universe.order(order, [POOL], **({"reason": "memory"} if order == "recycle" else {}))
    assert "refused: " in universe.story[-1]
    universe.rests_on("one", "new")


LIVES = times(8, 400)


@pytest.mark.long
@pytest.mark.timeout(120 + 2 * LIVES)
def test_whatever_happens_workers_that_can_serve_do(record_property: Callable[[str, object], None]) -> None:
    ends = [_life(seed) for seed in range(LIVES)]
    assert {"installed", "another"} <= set(ends)
    record_property("times", LIVES)


def _life(seed: int) -> str:
    """Upgrades, passwords that are replaced or wrong, celeryconfigs that need their code, undos, outages, crashes, full
    disks and a trapd that is killed; then all faults are over. Returns how it ended."""
    random = Random(seed)
    universe = Rotating(spec(random.choice((1, 2, 3)), surge=random.choice((0, 1, 2)), unavailable=1), seed)
    universe.upgrade("code0", "config0")
    universe.run(200)
    for number in range(1, random.randint(2, 8)):
        _something(universe, number, random)
        universe.run(random.choice((1.0, 10.0, 30.0, 100.0, 1000.0)))
    universe.outage, universe.kill_in, universe.snapshots.failure = False, None, None
    universe.boot_again()
    universe._look()
    universe.run(8 * 3600.0)
    try:
        return universe.check_serves()
    except AssertionError as error:
        told = [line for line in universe.story if "  start " not in line]
        state, void = universe.controller.state(POOL), universe.void
        pairs = {number: universe.pair(number) for number in universe.history.generations()}
        raise AssertionError("\n".join([f"seed {seed}: {error}", *told, f"{pairs} {void}", str(state)])) from error


def _something(universe: Rotating, number: int, random: Random) -> None:
    kinds = (GOOD, RAISES, CRASH_LOOP, replace(GOOD, crash_after=2))
    code, config = universe.pair_on_disk()
    match random.choice(("upgrade", "upgrade", "upgrade", "back", "undo", "outage", "retry", "kill", "crash", "disk")):
        case "upgrade":
            code, before = f"code{number}", config
            config = random.choice((config, f"config{number}", f"config{number}"))
            if config != before and random.random() < 0.2:
                universe.needs[config] = {code}
            void = random.choice(("", before, before, config)) if config != before else ""
            universe.upgrade(code, config, random.choice(kinds), void=void)
        case "back":
            universe.upgrade("code0", config)
        case "undo":
            universe.order("undo", POOL)
            universe.undone = True
        case "outage":
            universe.outage = not universe.outage
        case "retry":
            universe.order("retry", [POOL])
        case "kill":
            universe.kill_in = random.randint(1, 30)
        case "crash":
            for instance in universe.backend.seen()[: random.choice((1, 3))]:
                if instance.state is InstanceState.READY:
                    universe.backend.crash(instance.id)
        case "disk":
            full = universe.snapshots.failure is None
            universe.snapshots.failure = SnapshotError("no space left on device") if full else None
