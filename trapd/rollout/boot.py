"""What runs after a boot until trapd has had time to think, and all that runs if trapd cannot start then. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from trapd.model import Generation, InstanceId, PoolState
from trapd.rollout.world import wanted_workers
from trapd.spec import PoolSpec


def at_boot(
    specs: Mapping[str, PoolSpec],
    states: Mapping[str, PoolState],
    generations: Mapping[int, Generation],
    usable: Set[int],
) -> Iterator[InstanceId]:
    """Every pool at full strength on its last good generation, whatever is being rolled out or found on the disk.

    ``usable``: generations whose snapshot is there.
    """
    for name, state in sorted(states.items()):
        good = next((number for number in reversed(state.good) if number in usable), None)
        if name not in specs or good is None or (good in generations and generations[good].eager):
            continue
        yield from (InstanceId(name, good, slot) for slot in range(1, wanted_workers(specs[name], state) + 1))
