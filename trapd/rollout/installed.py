"""Does a pool serve what is installed? It does, it has refused it, or something has to come first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trapd.model import RolloutState
from trapd.rollout.intent import Cause, Nothing
from trapd.rollout.truth import serves
from trapd.rollout.view import PoolView


class Standing(StrEnum):
    """How a pool stands to what is installed."""

    SERVES = "serves"  # every wanted worker runs it
    REFUSED = "refused"  # it failed, or a person took it back: without a command the pool never runs it
    AWAITED = "awaited"  # neither, yet


@dataclass(frozen=True, slots=True)
class Installed:
    """``why``: what makes it so, in a sentence without a full stop."""

    standing: Standing
    why: str


_WENT_WRONG = frozenset({RolloutState.REJECTED, RolloutState.FAILED})


def installed(view: PoolView) -> Installed:
    """How this pool stands to what is installed, as far as trapd has seen that."""
    meaning = view.installed
    if meaning is None:  # the pool is configured no more
        if view.instances:
            return Installed(Standing.AWAITED, "the pool was removed from the configuration, and its workers leave")
        return Installed(Standing.SERVES, "the pool was removed from the configuration, and its workers are gone")
    if not isinstance(meaning, Nothing):
        return Installed(Standing.AWAITED, str(meaning))
    if meaning.cause is Cause.REFUSED:
        return Installed(Standing.REFUSED, meaning.why)
    if meaning.cause is not Cause.SAME:
        return Installed(Standing.AWAITED, meaning.why)
    return _wanted(view, meaning.why)


def _wanted(view: PoolView, why: str) -> Installed:
    """The pool wants what is installed; a rollout that is over may have failed, or a worker may be down since."""
    latest, wanted = view.state.rollout, view.state.wanted
    if latest is not None and not latest.state.over:
        return Installed(Standing.AWAITED, f"rollout {latest.id} is under way")
    ready = sum(serves(instance) for instance in view.instances if instance.id.generation == wanted)
    complete = ready >= view.wanted_workers
    if latest is not None and latest.generation == wanted and latest.state in _WENT_WRONG:
        proven_later = complete and wanted in view.state.good  # there was nothing to go back to
        if not proven_later:
            how = "was rejected" if latest.state is RolloutState.REJECTED else "was given up"
            return Installed(Standing.REFUSED, f"generation {wanted} {how}: {latest.reason}")
    if not complete:
        return Installed(Standing.AWAITED, f"{ready} of {view.wanted_workers} workers of generation {wanted} are ready")
    return Installed(Standing.SERVES, why)
