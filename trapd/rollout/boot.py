"""What runs after a boot until trapd has had time to think, and all that runs if trapd cannot start then. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import count, islice

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
        drained = {order.worker for order in state.drained}
        slots = (InstanceId(name, good, slot) for slot in count(1))
        free = (id for id in slots if id.name not in drained)
        yield from islice(free, wanted_workers(specs[name], state))
