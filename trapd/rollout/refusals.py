"""What a pool does not try again by itself: which refusal reaches how far, and what takes it back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from trapd.model import Generation, PoolState, Refusal, Scope


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a pool could run: code, started as an application, under settings of the pool."""

    fingerprint: str
    application: str = field(compare=False)  # the digest has it already
    launch: str  # digest of the settings that a running worker has fixed in it (want.launch_digest)


def candidate(generation: Generation, pool: str) -> Candidate:
    """What this generation is for this pool."""
    return Candidate(generation.fingerprint, generation.application, generation.launch.get(pool, ""))


def covers(refusal: Refusal, tried: Candidate) -> bool:
    """Does the refusal reach this candidate?"""
    if refusal.fingerprint != tried.fingerprint:
        return False
    match refusal.scope:
        case Scope.CODE:
            return True
        case Scope.APPLICATION:
            return refusal.subject == tried.application
        case Scope.SETTINGS:
            return refusal.subject == tried.launch


def refusal(state: PoolState, tried: Candidate) -> Refusal | None:
    """The refusal for which the pool does not try this by itself, if any; of several the one that reaches farthest."""
    found = [refusal for refusal in state.refused if covers(refusal, tried)]
    return min(found, key=lambda refusal: list(Scope).index(refusal.scope), default=None)


def refuse(state: PoolState, fresh: Refusal) -> PoolState:
    """The pool with this refusal, in the place of an earlier one of the same."""
    return replace(state, refused=(*(old for old in state.refused if _of(old) != _of(fresh)), fresh))


def forgive(state: PoolState, tried: Candidate) -> PoolState:
    """The pool without any refusal that reaches this candidate."""
    return replace(state, refused=tuple(refusal for refusal in state.refused if not covers(refusal, tried)))


def _of(refusal: Refusal) -> tuple[Scope, str, str]:
    return refusal.scope, refusal.fingerprint, refusal.subject
