"""One action, one call on a contract. No policy: why and when were decided by the plan."""

from __future__ import annotations

from typing import assert_never

from trapd.contracts import Backend
from trapd.rollout.actions import Drain, Effect, Forget, Kill, Start


async def carry_out(backend: Backend, effect: Effect) -> None:
    """Do it. Raises BackendError if it cannot be done; the next pass looks again."""
    match effect:
        case Start():
            await backend.start(effect.instance)
        case Drain():
            await backend.drain(effect.instance)
        case Kill():
            await backend.kill(effect.instance)
        case Forget():
            await backend.forget(effect.instance)
        case _:
            assert_never(effect)
