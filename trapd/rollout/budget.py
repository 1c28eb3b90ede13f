"""Surge arithmetic, as Kubernetes does it: surge rounds up, unavailable rounds down, both of the wanted number."""

from __future__ import annotations

from dataclasses import dataclass

from trapd.spec import Amount, PoolSpec

# Old workers that "auto" lets stay beside the new ones, for each wanted worker. One would do for a rollout; two let an
# undo, or a newer release, in the middle of a rollout start at once, and not when the drains of the first one are over.
AUTOMATIC = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """``ceiling``: most workers alive at once: the wanted ones, ``surge`` and ``draining`` (Kubernetes forgets the
    last: its issue 95498). ``witness``: one more, for a retrial, which compares old and new code side by side.
    ``floor``: fewest ready consumers that we may leave by our own act."""

    floor: int
    wanted: int
    surge: int
    draining: int
    witness: int = 0

    @property
    def ceiling(self) -> int:
        return self.wanted + self.surge + self.draining + self.witness


def resolve(amount: Amount, wanted: int, *, up: bool) -> int:
    """``25%`` of 3 is 1 rounded up and 0 rounded down; a plain number is itself."""
    if not amount.percent:
        return amount.value
    scaled = amount.value * wanted
    return -(-scaled // 100) if up else scaled // 100


def budget(spec: PoolSpec, wanted: int, *, sized: bool = True, retrial: bool = False) -> Budget:
    """What the pool's policy allows for so many wanted workers.

    If surge and unavailable come to 0 nothing could ever move, so unavailable becomes 1. A singleton (celery beat) is
    never surged, and nothing is started while it drains: two beats would send everything twice. Automatic draining is 0
    where surge is 0, which asks for no more than the wanted workers, and where it is not known how much memory there is
    (``sized``). ``retrial``: one is open.
    """
    surge = 0 if spec.singleton else resolve(spec.policy.max_surge, wanted, up=True)
    unavailable = resolve(spec.policy.max_unavailable, wanted, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    witness = 1 if retrial and not spec.singleton else 0
    return Budget(max(0, wanted - unavailable), wanted, surge, _draining(spec, wanted, surge, sized=sized), witness)


def _draining(spec: PoolSpec, wanted: int, surge: int, *, sized: bool) -> int:
    if spec.singleton:
        return 0
    if spec.policy.max_draining is not None:
        return resolve(spec.policy.max_draining, wanted, up=True)
    return AUTOMATIC * wanted if surge and sized else 0
