"""Code that is installed and does not run, because it was refused, undone or is held: who keeps it, and what to do.

Such code is a problem as long as what is installed and what the workers run differ. Code that pip or a person took back
is history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from trapd.control.outlook import held_back
from trapd.durations import age
from trapd.model import Disk, DiskState, Generation, RolloutState
from trapd.rollout.intent import Nothing
from trapd.rollout.refusals import candidate, refusal
from trapd.rollout.view import PoolView

When = Callable[[float], str]  # a moment, in seconds since the epoch, as words that follow a comma


def ago(now: float) -> When:
    """``5m10s ago``, for a text that is read at once; ``now`` in seconds since the epoch."""
    return lambda wall: f"{age(now - wall)} ago"


def withheld(disk: Disk, view: PoolView, when: When) -> str:
    """Why installed code does not run in this pool, since when, and the remedy, in a sentence; empty if it does."""
    name = view.spec.name
    if held := held_back(disk, view):
        versions = ", ".join(f"{distribution} {version}" for distribution, version in sorted(disk.versions.items()))
        refusal = view.installed.refusal if isinstance(view.installed, Nothing) else None
        why = _since(refusal.why, refusal.wall, when) if refusal is not None else held.removeprefix(f"{versions}: ")
        remedy = f"install other code, or try the same again: trapctl retry {name}"
        return f"{versions or 'other code'} is installed and does not run: {why}; {remedy}"
    rollout = view.state.rollout
    if rollout is None:
        return ""
    if rollout.state is RolloutState.FAILED and rollout.generation == view.state.wanted:
        if rollout.generation in view.state.good:  # it proved itself later: there was nothing to go back to
            return ""
        why = _since(rollout.reason, rollout.ended_wall or 0.0, when)
        remedy = f"trapctl retry {name} tries it again, trapctl rollout undo {name} goes back"
        return f"generation {rollout.generation} was given up: {why}; {remedy}"
    if view.state.paused and not rollout.state.over:
        begun = _since(
            f"it is paused, rollout {rollout.id} is held", rollout.started_wall, lambda at: f"begun {when(at)}"
        )
        return f"{begun}; trapctl rollout resume {name} lets it go on"
    return ""


def beneath(disk: Disk, view: PoolView, generations: Mapping[int, Generation], when: When) -> str:
    """Why the installed versions would not run in this pool although the environment were whole again, in a sentence;
    empty if nothing is known against them.

    A broken environment has no fingerprint: of the generations of these versions the last one counts.
    """
    if disk.state is not DiskState.BROKEN or not disk.versions:
        return ""
    name = view.spec.name
    same = [generation for generation in generations.values() if dict(generation.versions) == dict(disk.versions)]
    last = max(same, key=lambda generation: generation.number, default=None)
    refused = refusal(view.state, candidate(last, name)) if last and last.number != view.state.wanted else None
    if refused is None:
        return ""
    versions = ", ".join(f"{distribution} {version}" for distribution, version in sorted(disk.versions.items()))
    why = _since(refused.why, refused.wall, when)
    return f"{versions}, which is installed, would not run if it were whole: {why}; trapctl retry {name} tries it then"


def all_withheld(disk: Disk, views: Iterable[PoolView], when: When) -> Iterator[str]:
    """The same of several pools, each with its name."""
    for view in views:
        if sentence := withheld(disk, view, when):
            yield f"pool {view.spec.name}: {sentence}"


def _since(what: str, wall: float, when: When) -> str:
    return f"{what}, {when(wall)}" if wall else what
