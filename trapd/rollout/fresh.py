"""A new generation, as a value: of what is installed, or of the code of another generation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trapd.content import Content
from trapd.model import Disk, Generation, PoolState
from trapd.rollout.want import launch_digest
from trapd.spec import Application, PoolSpec


def generation(
    number: int,
    like: Disk | Generation,
    *,
    reason: str,
    actor: str,
    wall: float,
    application: Application,
    specs: Mapping[str, PoolSpec],
    loaded: Mapping[str, Content],
) -> Generation:
    """``loaded``: see ``loaded_before``."""
    identity = like.application if isinstance(like, Generation) else application.identity
    return Generation(
        number=number,
        fingerprint=like.fingerprint,
        versions=dict(like.versions),
        launch={name: launch_digest(spec, identity) for name, spec in specs.items()},
        reason=reason,
        actor=actor,
        wall=wall,
        eager=like.eager,
        application=identity,
        distributions=like.distributions,
        required=like.required,
        loaded=loaded,
        satisfied=like.satisfied,
        altered=like.altered,
    )


def loaded_before(
    like: Disk | Generation, states: Iterable[PoolState], generations: Mapping[int, Generation]
) -> Mapping[str, Content]:
    """What its workers will have loaded, until they say it themselves."""
    if isinstance(like, Generation):
        return like.loaded
    wanted = {state.wanted for state in states}
    names = {name for known in generations.values() if known.number in wanted for name in known.loaded}
    return {name: like.distributions[name] for name in sorted(names) if name in like.distributions}
