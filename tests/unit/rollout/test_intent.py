"""What a trigger means for a pool: one row for each cause and each outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.builders import rollout, spec, wanting
from trapd.model import Disk, DiskState, Generation, Pin, PoolState, Refusal, RolloutState, Scope
from trapd.rollout import intent, orders
from trapd.rollout.intent import Cause, CopyOf, Forgive, FromDisk, GoBack, Intent, Nothing, ReturnTo, Situation
from trapd.rollout.want import launch_digest
from trapd.spec import PoolSpec

APP, OTHER_APP = "trap.app:app ", "trap.other:app "
SPEC = spec()
OTHER = replace(SPEC, concurrency=9)
REST = RolloutState.COMPLETE


def generation(number: int, fingerprint: str, settings: PoolSpec = SPEC) -> Generation:
    launch = {settings.name: launch_digest(settings, APP)}
    return Generation(number, fingerprint, {"pkg": fingerprint}, launch, "", "watch", 0.0, application=APP)


KNOWN = {1: generation(1, "one"), 2: generation(2, "two"), 3: generation(3, "two", OTHER)}


def installed(fingerprint: str) -> Disk:
    return Disk(DiskState.SETTLED, fingerprint=fingerprint, versions={"pkg": fingerprint})


def situation(state: PoolState, disk: Disk | None = None, **more: object) -> Situation:
    """Generation 1 is code one, 2 is code two, 3 is code two under other settings; code two is installed."""
    fields: dict[str, object] = {"spec": SPEC, "application": APP, "generations": KNOWN, "usable": frozenset(KNOWN)}
    return Situation(state=state, disk=disk or installed("two"), **(fields | more))  # type: ignore[arg-type]


def refusing(state: PoolState, scope: Scope, fingerprint: str, subject: str) -> PoolState:
    return replace(state, refused=(Refusal(scope, fingerprint, subject, "it raised"),))


def means(what: Intent) -> Cause | tuple[type[Intent], int | None]:
    return what.cause if isinstance(what, Nothing) else (type(what), getattr(what, "generation", None))


def pinned(state: PoolState) -> PoolState:
    return replace(state, pins=(Pin("a", "alice", "trap-run", state.wanted or 0, 0.0, 0.0, 9e9, 9e9),))


AT_ONE, AT_TWO = wanting(1, 1, phase=REST), wanting(2, 1, 2, phase=REST)
HALF_MADE = wanting(2, 1, phase=RolloutState.CANARY)


@pytest.mark.parametrize(
    ("now", "expected", "why"),
    [
        (situation(AT_ONE), (FromDisk, None), "pkg one -> two"),
        (situation(PoolState("p"), generations={}), (FromDisk, None), "first start: pkg two"),
        (situation(AT_TWO, spec=OTHER), (FromDisk, None), "settings of the pool changed"),
        (situation(AT_TWO, usable=frozenset({1})), (FromDisk, None), "the files of generation 2 are damaged or gone"),
        (situation(AT_ONE, stopping=True), Cause.STOPPING, "trapd stops, and its workers with it"),
        (situation(AT_ONE, Disk(DiskState.CHANGING, "pip is at work")), Cause.UNSETTLED, "changing: pip is at work"),
        (situation(AT_ONE, Disk(DiskState.BROKEN, "half")), Cause.UNSETTLED, "what is installed is broken: half"),
        (situation(AT_TWO), Cause.SAME, "generation 2 is what is installed, under the settings in force"),
        (situation(refusing(AT_ONE, Scope.CODE, "two", "")), Cause.REFUSED, "refused before: it raised"),
        (situation(refusing(AT_ONE, Scope.APPLICATION, "two", APP)), Cause.REFUSED, "before for this application: it"),
        (
            situation(refusing(AT_TWO, Scope.SETTINGS, "two", launch_digest(OTHER, APP)), spec=OTHER),
            *(Cause.REFUSED, "before under these settings: it raised"),
        ),
        (situation(refusing(AT_ONE, Scope.APPLICATION, "two", APP), application=OTHER_APP), (FromDisk, None), "pkg"),
        (situation(pinned(AT_ONE)), Cause.PINNED, "the code is pinned by alice, for trap-run"),
        (situation(pinned(AT_ONE), application=OTHER_APP), Cause.PINNED, "pinned by alice"),
        (situation(pinned(AT_TWO)), Cause.SAME, "generation 2 is what is installed"),
        (situation(pinned(AT_TWO), application=OTHER_APP), Cause.PINNED, "pinned by alice"),
        (situation(pinned(AT_TWO), spec=OTHER), (FromDisk, None), "settings of the pool changed"),
        (situation(pinned(AT_TWO), usable=frozenset({1})), (FromDisk, None), "files of generation 2 are damaged"),
        (situation(pinned(HALF_MADE), installed("one")), Cause.PINNED, "pinned by alice"),
        (situation(HALF_MADE, installed("one")), (GoBack, 1), "the last good generation's again"),
        (situation(HALF_MADE, installed("one"), usable=frozenset({2})), (FromDisk, None), "pkg two -> one"),
        (situation(wanting(2, 1, 2, phase=REST), installed("one")), (FromDisk, None), "pkg two -> one"),
    ],
)
def test_a_change_on_the_disk(now: Situation, expected: object, why: str) -> None:
    what = intent.after_disk(now)
    assert means(what) == expected
    assert why in what.why


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (situation(AT_TWO), situation(AT_TWO, spec=OTHER), (CopyOf, 2)),
        (situation(AT_TWO), situation(AT_TWO), Cause.SAME),
        (situation(AT_TWO), situation(AT_TWO, spec=replace(SPEC, workers=9)), Cause.SAME),
        (situation(AT_TWO, spec=OTHER), situation(AT_TWO), Cause.SAME),  # taken back: generation 2 has them already
        (situation(AT_TWO), situation(AT_TWO, spec=OTHER, application=OTHER_APP), Cause.APPLICATION),
        (situation(AT_TWO), situation(AT_TWO, spec=OTHER, stopping=True), Cause.STOPPING),
        (situation(PoolState("p")), situation(PoolState("p"), spec=OTHER), Cause.UNSETTLED),
    ],
)
def test_a_reload(before: Situation, now: Situation, expected: object) -> None:
    assert means(intent.after_reload(before, now)) == expected


REFUSED_OTHER = refusing(AT_ONE, Scope.SETTINGS, "one", launch_digest(OTHER, APP))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (situation(AT_ONE, installed("one"), spec=OTHER), (CopyOf, 1)),
        (situation(refusing(AT_ONE, Scope.CODE, "two", ""), spec=OTHER), (CopyOf, 1)),
        (situation(AT_ONE, installed("one")), Cause.SAME),
        (situation(AT_ONE, spec=OTHER), Cause.DISK_FIRST),
        (situation(pinned(AT_ONE), spec=OTHER), (CopyOf, 1)),  # settings go on, of the code that is held
        (situation(REFUSED_OTHER, installed("one"), spec=OTHER), Cause.REFUSED),
        (situation(AT_ONE, Disk(DiskState.CHANGING), spec=OTHER), Cause.UNSETTLED),
        (situation(AT_ONE, installed("one"), spec=OTHER, usable=frozenset({2})), Cause.FLAWED),
        (situation(AT_ONE, installed("one"), spec=OTHER, stopping=True), Cause.STOPPING),
        (situation(PoolState("p"), spec=OTHER), Cause.UNSETTLED),
    ],
)
def test_settings_that_were_left_behind(now: Situation, expected: object) -> None:
    assert means(intent.left_behind(now)) == expected


def test_a_recycle() -> None:
    assert orders.to_recycle(situation(AT_ONE), "memory") == CopyOf(1, "memory")  # other code is installed
    assert orders.to_recycle(situation(AT_ONE, installed("one")), "memory") == FromDisk("memory")
    assert orders.to_recycle(situation(pinned(AT_ONE), installed("one")), "memory") == CopyOf(1, "memory")
    changing = replace(installed("one"), state=DiskState.CHANGING)
    assert orders.to_recycle(situation(AT_ONE, changing), "memory") == CopyOf(1, "memory")
    tentative = replace(installed("one"), state=DiskState.TENTATIVE)
    assert orders.to_recycle(situation(AT_ONE, tentative), "memory") == FromDisk("memory")
    assert orders.to_recycle(situation(pinned(AT_ONE), tentative), "memory") == CopyOf(1, "memory")
    assert orders.to_recycle(situation(pinned(AT_ONE)), "memory") == CopyOf(1, "memory")  # a pin holds code
    assert means(orders.to_recycle(situation(AT_ONE, stopping=True), "memory")) is Cause.STOPPING
    assert means(orders.to_recycle(situation(PoolState("p")), "memory")) is Cause.UNSETTLED


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (situation(AT_TWO), (CopyOf, 1)),
        (situation(HALF_MADE), (ReturnTo, 1)),
        (situation(replace(AT_TWO, paused=True)), Cause.PAUSED),
        (situation(pinned(AT_TWO)), Cause.PINNED),
        (situation(AT_ONE), Cause.NO_OTHER),
        (situation(AT_TWO, stopping=True), Cause.STOPPING),
        (situation(PoolState("p")), Cause.UNSETTLED),
    ],
)
def test_an_undo(now: Situation, expected: object) -> None:
    assert means(orders.to_undo(now)) == expected


HELD = replace(AT_ONE, wanted=2, rollout=rollout(2, RolloutState.FAILED))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (situation(refusing(AT_ONE, Scope.CODE, "two", "")), None),
        (situation(HELD), 2),
        (situation(replace(HELD, wanted=1)), Cause.NOT_REFUSED),  # reverted: its workers are not held
        (situation(AT_TWO), Cause.NOT_REFUSED),
        (situation(AT_TWO, stopping=True), Cause.STOPPING),
    ],
)
def test_a_retry(now: Situation, expected: object) -> None:
    what = orders.to_retry(now)
    assert (what.held if isinstance(what, Forgive) else what.cause) == expected
