"""The phases of a rollout: what each means, and which comes after which. docs/states.md shows them."""

from __future__ import annotations

from collections.abc import Mapping

from trapd.model import RolloutState
from trapd.rollout.blame import Blame, blame, failed_canary
from trapd.rollout.gates import closed
from trapd.rollout.world import World, ready

_S = RolloutState
MEANS: Mapping[RolloutState, str] = {
    _S.TENTATIVE: "the first new worker may start; until the quiet period is over no old worker is told to go",
    _S.PENDING: "nothing is started yet",
    _S.PREFLIGHT: "the first new worker imports the code and connects",
    _S.CANARY: "the first new worker is ready and has to stay so",
    _S.WAITING: "`trapctl rollout promote` has to come, or, before tasks that it lacks, empty queues",
    _S.RETRIAL: "the last good generation starts, so the first new worker is tried once more",
    _S.ROLLING: "the generation is good: the rest follow",
    _S.COMPLETE: "every wanted worker runs the generation, and no other worker is there",
    _S.REJECTED: "the generation's own code failed: the last good generation serves",
    _S.FAILED: "its work failed, or there was no progress: the last good generation serves, or the pool is held",
    _S.SUPERSEDED: "another generation is wanted instead",
}

_AGAIN = {_S.PENDING: "the first new worker is gone", _S.PREFLIGHT: "another first worker is started"}
_VERDICTS = {
    _S.REJECTED: "the code or its tasks failed, or it proved nothing within progress_deadline",
    _S.FAILED: "nothing was proved within progress_deadline, and no generation is good",
    _S.COMPLETE: "no workers are wanted",
    _S.SUPERSEDED: "another generation is wanted",
}
_PROVED = "the first new worker stayed ready for min_ready"
_GATE = "a person has to promote it"
_OPENED = "a person promoted it"
_TWICE = "the first new worker failed, and the last good generation starts"
# Each phase is read anew from what is seen, and trapd may have been away: so a rollout may skip phases, or go back.
AFTER: Mapping[RolloutState, Mapping[RolloutState, str]] = {
    _S.TENTATIVE: {
        _S.PREFLIGHT: "the quiet period is over, and nothing was changed",
        _S.WAITING: f"the quiet period is over; {_GATE}",
        _S.SUPERSEDED: "the disk changed again, or another generation is wanted",
    },
    _S.PENDING: {
        _S.PREFLIGHT: "the first new worker is started",
        _S.CANARY: "the first new worker is ready",
        _S.WAITING: _GATE,
        _S.RETRIAL: f"{_TWICE}; what came before could not be written down",
        _S.ROLLING: "the generation was good before",
        **_VERDICTS,
    },
    _S.PREFLIGHT: {
        _S.CANARY: "the first new worker is ready",
        _S.WAITING: _GATE,
        _S.RETRIAL: _TWICE,
        _S.ROLLING: _PROVED,
        _S.PENDING: "the first new worker is gone",
        **_VERDICTS,
    },
    _S.CANARY: {
        _S.WAITING: _GATE,
        _S.ROLLING: _PROVED,
        _S.RETRIAL: _TWICE,
        **_AGAIN,
        **_VERDICTS,
        _S.COMPLETE: "one worker is wanted",
    },
    _S.WAITING: {
        _S.ROLLING: _OPENED,
        _S.CANARY: "the first new worker failed and starts again, or is not well",
        _S.RETRIAL: _TWICE,
        **_AGAIN,
        **_VERDICTS,
    },
    _S.RETRIAL: {
        _S.WAITING: _GATE,
        _S.ROLLING: _PROVED,
        _S.CANARY: "the last good generation starts no more",
        **_AGAIN,
        **_VERDICTS,
    },
    _S.ROLLING: {
        _S.COMPLETE: "all wanted workers were ready for min_ready",
        _S.FAILED: "its tasks failed, or there was no progress within progress_deadline",
        _S.PREFLIGHT: "workers hang, so the generation is in doubt",
        _S.SUPERSEDED: "another generation is wanted",
    },
    _S.COMPLETE: {
        _S.PREFLIGHT: "workers hang or crash soon after, so the generation is in doubt",
        _S.REJECTED: "no workers were wanted at first, and the code failed later",
        _S.FAILED: "its tasks or workers failed in its probation",
    },
    _S.REJECTED: {},
    _S.FAILED: {},
    _S.SUPERSEDED: {},
}
# The steps that the picture in docs/states.md shows.
USUAL = (
    (_S.TENTATIVE, _S.PREFLIGHT),
    (_S.TENTATIVE, _S.SUPERSEDED),
    (_S.PENDING, _S.PREFLIGHT),
    (_S.PREFLIGHT, _S.CANARY),
    (_S.PREFLIGHT, _S.RETRIAL),
    (_S.CANARY, _S.RETRIAL),
    (_S.CANARY, _S.ROLLING),
    (_S.CANARY, _S.WAITING),
    (_S.WAITING, _S.ROLLING),
    (_S.RETRIAL, _S.ROLLING),
    (_S.RETRIAL, _S.REJECTED),
    (_S.ROLLING, _S.COMPLETE),
    (_S.ROLLING, _S.FAILED),
    (_S.COMPLETE, _S.PREFLIGHT),
)


def phase(world: World, now: float, *, starts: bool) -> RolloutState:
    """The phase that the rollout under way is in; ``starts``: with the worker of its generation that is started now."""
    if world.tentative:
        return RolloutState.TENTATIVE  # a trigger alone ends it
    mine, before = world.staying(target=True), world.rollout.state if world.rollout is not None else None
    failed = failed_canary(world, now)
    judged = None if failed is None else blame(world, failed)
    if world.proven:
        return RolloutState.ROLLING
    if judged is Blame.DOUBT or (mine and before is RolloutState.RETRIAL and judged is not Blame.ENVIRONMENT):
        return RolloutState.RETRIAL
    if closed(world, now) is not None:
        return RolloutState.WAITING
    # a canary that has to be started again is none the less one: to fall back and come forth would look like progress
    if ready(mine) or (mine and before in (RolloutState.CANARY, RolloutState.WAITING)):
        return RolloutState.CANARY
    return RolloutState.PREFLIGHT if mine or starts else RolloutState.PENDING
