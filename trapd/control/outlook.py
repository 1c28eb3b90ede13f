"""What comes next in a rollout, and which installed code waits outside: sentences without a full stop."""

from __future__ import annotations

from trapd.model import Disk, DiskState, InstanceState, RolloutState
from trapd.rollout.gates import Gate
from trapd.rollout.intent import Cause, Nothing
from trapd.rollout.view import PoolView

_LEAVING = frozenset({InstanceState.DRAINING, InstanceState.STOPPING})
_NOT_HELD = frozenset({Cause.SAME, Cause.UNSETTLED, Cause.STOPPING, Cause.PINNED})  # a pin ends by itself


def coming(view: PoolView) -> str:
    """What comes when what is awaited has come; empty where no rollout is under way."""
    rollout = view.state.rollout
    if rollout is None or rollout.state.over or view.state.paused:
        return ""
    others = max(0, view.wanted_workers - 1)
    if view.state.put_aside is not None:
        return f"generation {view.state.put_aside}, which is installed, is rolled out once more"
    match rollout.state:
        case RolloutState.TENTATIVE:
            return "the rollout goes on when the disk has settled"
        case RolloutState.PENDING:
            return f"one worker of generation {rollout.generation} starts: the canary"
        case RolloutState.PREFLIGHT:
            return f"the canary has to stay ready for {view.spec.policy.min_ready:g} s"
        case RolloutState.RETRIAL:
            return "the canary is started once more"
        case RolloutState.WAITING:
            lacks = view.gate is not None and view.gate.gate is Gate.TASKS
            empty = ", or when no message of these tasks is left" if lacks else ""
            return f"the rollout goes on when a person promotes it{empty}"
        case RolloutState.CANARY:
            return f"{others} more to follow" if others else _rolling(view, rollout.generation)
        case _:
            return _rolling(view, rollout.generation)


def _rolling(view: PoolView, generation: int) -> str:
    starts = view.wanted_workers - sum(i.id.generation == generation for i in view.instances)
    old = [i for i in view.instances if i.id.generation != generation and i.state is not InstanceState.FAILED]
    drains = sum(i.state not in _LEAVING for i in old)
    parts = [f"{starts} more to start"] if starts > 0 else []
    parts += [f"{drains} more to drain"] if drains else []
    return ", ".join(parts) or f"generation {generation} is complete"


def held_back(disk: Disk, view: PoolView) -> str:
    """Which code is installed, whole, and not wanted, and why; empty if there is none."""
    meaning = view.installed
    if disk.state is not DiskState.SETTLED or not isinstance(meaning, Nothing) or meaning.cause in _NOT_HELD:
        return ""
    return f"{', '.join(f'{name} {version}' for name, version in sorted(disk.versions.items()))}: {meaning.why}"
