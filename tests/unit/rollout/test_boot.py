"""What a machine starts with: as strong as it was, on what proved itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.support.builders import spec, wanting
from trapd.model import Generation, PoolState, RolloutState
from trapd.rollout.boot import at_boot
from trapd.spec import PoolSpec

GENERATIONS = {n: Generation(n, f"f{n}", {}, {}, "", "watch", 0.0) for n in (6, 7, 8)}
POOLS = {"p": spec(workers=2)}


def names(
    state: PoolState,
    pools: Mapping[str, PoolSpec] = POOLS,
    usable: tuple[int, ...] = (6, 7, 8),
    generations: Mapping[int, Generation] = GENERATIONS,
) -> list[str]:
    return [id.name for id in at_boot(pools, {"p": state}, generations, frozenset(usable))]


def test_every_worker_of_the_last_good_generation_starts() -> None:
    assert names(wanting(7, 6, 7)) == ["p@7-1", "p@7-2"]


def test_one_that_is_being_rolled_out_is_not_trusted_with_a_boot() -> None:
    assert names(wanting(8, 7, phase=RolloutState.CANARY)) == ["p@7-1", "p@7-2"]


def test_nothing_starts_before_anything_was_good_or_without_its_snapshot() -> None:
    assert names(wanting(7)) == []
    assert names(wanting(None)) == []
    assert names(wanting(7, 7), usable=(6,)) == []


def test_a_lost_snapshot_falls_back_to_the_good_one_before() -> None:
    assert names(wanting(7, 6, 7), usable=(6,)) == ["p@6-1", "p@6-2"]


def test_a_scaled_pool_has_as_many_as_it_was_scaled_to() -> None:
    assert names(replace(wanting(7, 7), workers=3)) == ["p@7-1", "p@7-2", "p@7-3"]
    assert names(replace(wanting(7, 7), workers=0)) == []


def test_no_worker_starts_for_a_pool_that_is_gone_or_whose_tasks_need_none() -> None:
    assert names(wanting(7, 7), pools={}) == []
    eager = {7: replace(GENERATIONS[7], eager=True)}
    assert names(wanting(7, 7), generations=eager) == []
