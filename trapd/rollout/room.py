"""For how many more workers there is memory, from what the workers use and what the machine has left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trapd.model import Instance, InstanceId, InstanceState, Memory
from trapd.sizes import amount


@dataclass(frozen=True, slots=True)
class Room:
    """``workers``: as many more fit; None: it is not known. ``free``: bytes that no worker has, nor will take when it
    has started; ``size``: bytes of one worker of the pool."""

    workers: int | None = None
    free: int = 0
    size: int = 0

    @classmethod
    def of(cls, pool: str, seen: Sequence[Instance], used: Mapping[InstanceId, Memory], free: int | None) -> Room:
        """``seen``: the workers of all pools, and what each has in ``used``; ``free``: bytes that all may still take.

        Half of the pool's workers are no larger than the size that counts: a worker whose task needs much, or that
        leaks, does not keep those away that replace it. Workers that start have not yet taken what they will: that is
        not free, and where all of the pool start, there is room for no more of them until one has started.
        """
        grown = [i for i in seen if i.pid is not None and i.state is not InstanceState.STARTING]
        if not any(i.id.pool == pool for i in grown):
            return cls(0, free or 0)
        sizes = {name: _size(name, grown, used) for name in {instance.id.pool for instance in grown}}
        if free is None or not sizes[pool]:
            return cls()
        starting = [i.id for i in seen if i.state is InstanceState.STARTING]
        promised = sum(max(0, sizes.get(id.pool, 0) - _taken(used.get(id))) for id in starting)
        left = max(0, free - promised)
        return cls(left // sizes[pool], left, sizes[pool])

    def __str__(self) -> str:
        if self.workers is None:
            return "it is not known how much memory is free, or how much a worker needs"
        if not self.size:
            return "how much a worker needs is known when one has started"
        return f"{amount(self.free)} are free, and a worker needs {amount(self.size)}"


def _size(pool: str, grown: Iterable[Instance], used: Mapping[InstanceId, Memory]) -> int:
    """Bytes; 0: not known."""
    sizes = sorted(_taken(used[i.id]) for i in grown if i.id.pool == pool and i.id in used)
    return sizes[len(sizes) // 2] if sizes else 0


def _taken(memory: Memory | None) -> int:
    return 0 if memory is None else max(0, memory.used - memory.cache)
