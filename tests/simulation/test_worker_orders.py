"""`trapctl drain`, `undrain` and `recycle` of one worker: kept, told, and carried out once."""

from __future__ import annotations

import pytest

from tests.simulation.test_stories import GOOD, running
from tests.simulation.universe import POOL, Universe, now_or_never
from tests.support.builders import spec
from trapd.errors import RefusedError, UsageError
from trapd.rollout.worker_orders import reminders


def there(universe: Universe) -> list[str]:
    return [instance.id.name for instance in universe.seen(POOL)]


def test_a_drained_worker_has_no_successor_over_a_restart_and_an_upgrade_until_it_is_undrained() -> None:
    universe = running(spec(3))
    now_or_never(universe.triggers.drain("p@1-1", actor="anna", reason="a test of memory"))
    now_or_never(universe.triggers.drain("p@1-1", actor="bert", reason="once more"))
    universe.run(600)
    assert there(universe) == ["p@1-2", "p@1-3"]
    universe.die()
    universe.boot_again()
    universe.run(600)
    assert there(universe) == ["p@1-2", "p@1-3"]
    (line,) = reminders(universe.controller.state(POOL), lambda wall: "just now")
    assert line.startswith("p@1-1 was drained by anna: a test of memory, just now; until trapctl undrain p@1-1 no")
    universe.install("two", GOOD)
    universe.settle("two")
    assert there(universe) == ["p@2-1", "p@2-2"]
    now_or_never(universe.triggers.undrain("p@1-1", actor="anna"))
    universe.run(600)
    assert there(universe) == ["p@2-1", "p@2-2", "p@2-3"]
    told = [(str(event.kind), event.reason) for event in universe.history.events(pool=POOL) if event.actor == "anna"]
    assert told == [("drained", "p@1-1: drained by anna: a test of memory"), ("undrained", "p@1-1: by request")]


def test_one_worker_is_recycled_new_before_old_and_no_other_one() -> None:
    universe = running()
    now_or_never(universe.triggers.recycle_worker("p@1-1", actor="anna", reason=""))
    universe.run(600)
    assert there(universe) == ["p@1-2", "p@1-3"]
    assert universe.controller.state(POOL).recycled == ()
    assert "is recycled by anna" in [event.reason for event in universe.history.events(instance="p@1-1")]
    universe.run(24 * 3600)
    assert there(universe) == ["p@1-2", "p@1-3"]


@pytest.mark.parametrize(
    ("order", "worker", "message"),
    [
        ("drain", "p@1-9", "cannot drain p@1-9: no such worker is there"),
        ("drain", "p", "cannot find the worker 'p'"),
        ("recycle_worker", "p@1-9", "cannot recycle p@1-9: no such worker is there"),
        ("undrain", "p@1-1", "cannot undrain p@1-1: nobody drained it; drained in pool p: no worker"),
    ],
)
def test_what_cannot_be_ordered_says_why(order: str, worker: str, message: str) -> None:
    more = {} if order == "undrain" else {"reason": ""}
    with pytest.raises(RefusedError, match=message):
        now_or_never(getattr(running().triggers, order)(worker, actor="anna", **more))
    with pytest.raises(UsageError, match="no pool 'q'"):
        now_or_never(getattr(running().triggers, order)("q@1-1", actor="anna", **more))
