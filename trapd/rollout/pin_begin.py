"""May a run pin the code of a pool now? Not while two codes serve: it would begin on both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trapd.model import Generation, InstanceState, RolloutState
from trapd.rollout import pin
from trapd.rollout.view import PoolView

_SERVES = frozenset({InstanceState.STARTING, InstanceState.READY})


@dataclass(frozen=True, slots=True)
class Later:
    """The run has to wait. ``why``: a sentence without a full stop; ``person``: a person has to act first."""

    why: str
    person: bool = False
    pool: str = ""  # that it is about, if the run asked for several


def later(view: PoolView, generations: Mapping[int, Generation], *, stopping: bool = False) -> Later | None:
    """Why a run may not pin the code of this pool now; None if it may. ``view``: as a pass would see it now."""
    state, rollout = view.state, view.state.rollout
    if stopping:
        return Later("trapd stops, and its workers with it; start it again first", person=True)
    if state.wanted is None:
        return Later("no code has settled yet, so there is none to pin")
    same = pin.allowed(state, generations)
    if rollout is not None and not rollout.state.over and rollout.previous not in same:
        return _of_rollout(view, f"rollout {rollout.id} to generation {rollout.generation}")
    others = [i for i in view.instances if i.id.generation not in same and i.state in _SERVES]
    if others and rollout is not None and rollout.state is RolloutState.FAILED:
        name = view.spec.name
        remedy = f"trapctl retry {name} tries it again, trapctl rollout undo {name} goes back"
        return Later(f"generation {rollout.generation} failed and is held: a person has to decide; {remedy}", True)
    if others:
        names = ", ".join(instance.id.name for instance in others[:3])
        return Later(f"workers of other code have to leave first: {names}")
    return None


def _of_rollout(view: PoolView, rollout: str) -> Later:
    name = view.spec.name
    if view.state.paused:
        return Later(
            f"{rollout} is paused: a person has to resume it; trapctl rollout resume {name} lets it go on", True
        )
    if view.gate is not None:
        promote = f"trapctl rollout promote {name} lets it go on"
        return Later(f"{rollout} waits for a person: {view.gate.why}; {promote}", True)
    return Later(f"the run begins when {rollout} has ended")
