"""How far a rollout is: as numbers, and as the one line that trapctl shows, as ``kubectl rollout status`` does."""

from __future__ import annotations

from trapd.control import documents
from trapd.control.outlook import coming
from trapd.control.status import describe
from trapd.model import InstanceState, Rollout, RolloutState
from trapd.rollout.truth import serves
from trapd.rollout.view import PoolView

_STAYING = frozenset({InstanceState.STARTING, InstanceState.READY})


def progress(view: PoolView, rollout: Rollout) -> documents.Progress:
    """``updated``: ready workers of the new generation; ``old``: workers of others that are still there."""
    mine = [i for i in view.instances if i.id.generation == rollout.generation]
    old = [i for i in view.instances if i.id.generation != rollout.generation and i.state is not InstanceState.FAILED]
    document: documents.Progress = {
        "pool": rollout.pool,
        "rollout": describe(rollout),
        "wanted": view.wanted_workers,
        "updated": sum(serves(i) for i in mine),
        "starting": sum(i.state is InstanceState.STARTING for i in mine),
        "failed": sum(i.state is InstanceState.FAILED for i in mine),
        "old": len(old),
        "draining": sum(i.state not in _STAYING for i in old),
        "serves": view.state.wanted,  # once the rollout is over: another than its own, if it went wrong
        "paused": view.state.paused,
        "waiting": "" if rollout.state.over else view.waiting,
        "next": coming(view),
        "message": "",
    }
    document["message"] = _message(document, rollout)
    return document


def _message(document: documents.Progress, rollout: Rollout) -> str:
    number = rollout.generation
    match rollout.state:
        case RolloutState.COMPLETE:
            text = f"successfully rolled out generation {number}"
        case RolloutState.REJECTED:
            text = f"generation {number} was rejected: {rollout.reason}"
        case RolloutState.FAILED:
            text = f"rollout of generation {number} failed: {rollout.reason}"
        case RolloutState.SUPERSEDED:
            text = f"rollout of generation {number} was superseded: {rollout.reason}"
        case _:
            text = _under_way(document, number, waits=rollout.state is RolloutState.WAITING)
    return f"pool {rollout.pool}: {text}"


def _under_way(document: documents.Progress, number: int, *, waits: bool) -> str:
    text = f"{document['updated']} of {document['wanted']} workers are on generation {number}"
    counts = [(document["starting"], "starting"), (document["failed"], "failed"), (document["draining"], "draining")]
    old = document["old"] - document["draining"]
    more = [f"{count} {word}" for count, word in counts if count] + ([f"{old} old at work"] if old else [])
    text += f" ({', '.join(more)})" if more else ""
    if document["paused"]:
        return text + "; paused"
    if waits and document["waiting"]:
        return f"{text}; waits for {document['waiting']}"
    return text + " ..."
