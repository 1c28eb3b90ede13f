"""Surge arithmetic, as Kubernetes does it: surge rounds up, unavailable rounds down, both of the wanted number."""

from __future__ import annotations

from dataclasses import dataclass

from trapd.model import Amount, PoolSpec


@dataclass(frozen=True, slots=True)
class Budget:
    """``ceiling``: most workers alive at once, draining ones included (Kubernetes forgets those: its issue 95498).
    ``floor``: fewest ready consumers that we may leave by our own act."""

    ceiling: int
    floor: int


def resolve(amount: Amount, wanted: int, *, up: bool) -> int:
    """``25%`` of 3 is 1 rounded up and 0 rounded down; a plain number is itself."""
    if not amount.percent:
        return amount.value
    scaled = amount.value * wanted
    return -(-scaled // 100) if up else scaled // 100


def budget(spec: PoolSpec, wanted: int) -> Budget:
    """What the pool's policy allows for so many wanted workers.

    If both amounts come to 0 nothing could ever move, so unavailable becomes 1. A singleton (celery beat) is never
    surged: two beats would send everything twice.
    """
    surge = 0 if spec.singleton else resolve(spec.policy.max_surge, wanted, up=True)
    unavailable = resolve(spec.policy.max_unavailable, wanted, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Budget(ceiling=wanted + surge, floor=max(0, wanted - unavailable))
