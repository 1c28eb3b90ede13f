"""What each command does. Short: the controller does the work, these say it in JSON."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapd.control import protocol
from trapd.control.needs import Desk
from trapd.control.progress import progress
from trapd.control.protocol import SCHEMA
from trapd.control.status import describe, status
from trapd.control.why import find_rollout, why
from trapd.errors import RefusedError, TrapdError, UsageError
from trapd.event import Event
from trapd.model import Generation, Rollout
from trapd.rollout.refusals import candidate, refusal
from trapd.rollout.view import PoolView
from trapd.rollout.world import wanted_workers

Document = dict[str, Any]
_AMOUNT = re.compile(r"(?P<sign>[+-]?)(?P<number>[0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``params`` are checked against the table; ``report`` sends progress."""

    desk: Desk
    params: Mapping[str, Any]
    actor: str
    report: Callable[[Document], Awaitable[None]]


class StillGoingError(TrapdError):
    """The waiting timed out; what was waited for goes on. Exit 75."""

    def __init__(self, message: str, data: Document) -> None:
        super().__init__(message)
        self.data = data


async def ping(call: Call) -> Document:
    about = call.desk.about
    return {"schema": SCHEMA, "version": about.version, "pid": about.pid, "protocol": protocol.VERSION}


async def show_status(call: Call) -> Document:
    return status(call.desk, await call.desk.controller.look())


async def recycle(call: Call) -> Document:
    reason = _one_line(call.params["reason"])
    return _rollouts(await call.desk.controller.recycle(_configured(call), actor=call.actor, reason=reason))


async def retry(call: Call) -> Document:
    return _rollouts(await call.desk.controller.retry(_configured(call), actor=call.actor))


async def undo(call: Call) -> Document:
    return _rollouts([await call.desk.controller.undo(_pool(call), actor=call.actor)])


async def pause(call: Call) -> Document:
    await call.desk.controller.pause(_pool(call), actor=call.actor)
    return _wanted(call)


async def resume(call: Call) -> Document:
    await call.desk.controller.resume(_pool(call), actor=call.actor)
    return _wanted(call)


async def scale(call: Call) -> Document:
    name = _pool(call)
    view = call.desk.controller.pool(name)
    before = wanted_workers(view.spec, view.state)  # not the last pass's: two requests may come between passes
    wanted = _amount(call.params["workers"], before, name)
    await call.desk.controller.scale(name, wanted, actor=call.actor)
    return _wanted(call) | {"before": before, "wanted": wanted}


async def rollout_status(call: Call) -> Document:
    """The latest rollout of each pool asked about, with how far it is."""
    views = [call.desk.controller.pool(name) for name in _pools(call)]
    return {"schema": SCHEMA, "pools": [_latest(view) for view in views]}


async def rollout_wait(call: Call) -> Document:
    """Reports progress whenever it changed, until the rollout is over or the timeout is."""
    controller, number = call.desk.controller, call.params["id"]
    timeout = call.params["timeout"]
    deadline = None if timeout is None else call.desk.clock.now() + timeout
    said: Document = {}
    while True:
        changed = controller.changed()  # taken before the look, so that no change falls between
        rollout = find_rollout(call.desk, number)
        now = progress(controller.pool(rollout.pool), rollout)
        if now != said:
            await call.report(now)
            said = now
        if rollout.state.over:
            return {"schema": SCHEMA} | now | {"superseded_by": _successor(call, rollout)}
        left = None if deadline is None else deadline - call.desk.clock.now()
        if left is not None and left <= 0:
            far = str(now["message"]).rstrip(" .")
            again = f"wait again with trapctl rollout status {rollout.pool}"
            raise StillGoingError(f"rollout {number} still goes on ({far}); {again}", now)
        # not wait_for: it cancels what it waits for, and this future is everybody's
        await asyncio.wait([changed], timeout=left)


async def history(call: Call) -> Document:
    rollouts = call.desk.controller.journal.rollouts(_past(call), call.params["limit"])
    return {"schema": SCHEMA, "rollouts": [describe(rollout) for rollout in rollouts]}


async def events(call: Call) -> Document:
    pool, rollout, limit = _past(call), call.params["rollout"], call.params["limit"]
    found = call.desk.controller.journal.events(pool=pool, rollout=rollout, limit=limit)
    return {"schema": SCHEMA, "events": [_event(event) for event in found]}


async def generations(call: Call) -> Document:
    known = call.desk.controller.generations
    views = call.desk.controller.pools()
    newest_first = sorted(known, reverse=True)
    flaws = {number: await call.desk.controller.flaw(number) for number in newest_first}
    found = [_generation(known[number], views) | {"flaw": flaws[number]} for number in newest_first]
    return {"schema": SCHEMA, "generations": found}


async def plan(call: Call) -> Document:
    """What a pass would do now, pool by pool. Nothing is done."""
    pools = [_planned(await call.desk.controller.observe(name)) for name in _pools(call)]
    changes = any(pool["actions"] or pool["held"] is not None for pool in pools)
    return {"schema": SCHEMA, "changes": changes, "pools": pools}


async def explain(call: Call) -> Document:
    return why(call.desk, call.params["subject"])


# --- the pieces ---


def _find(call: Call, name: str) -> str:
    known = [view.spec.name for view in call.desk.controller.pools()]
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    raise UsageError(f"cannot find pool {name!r}: {hint}")


def _pool(call: Call) -> str:
    return _find(call, call.params["pool"])


def _past(call: Call) -> str | None:
    """The pool asked for, be it one that was removed; None means all."""
    name: str | None = call.params["pool"]
    return name if name is None or name in call.desk.controller.journal.pools() else _find(call, name)


def _named(call: Call) -> list[str]:
    """The pools asked for, each once."""
    return [_find(call, name) for name in dict.fromkeys(call.params["pools"])]


def _pools(call: Call) -> list[str]:
    """The pools asked for; if none was named all, those included that only have workers left."""
    return _named(call) or [view.spec.name for view in call.desk.controller.pools()]


def _configured(call: Call) -> list[str]:
    """The pools asked for; if none was named all that are configured."""
    return _named(call) or list(call.desk.controller.specs)


def _one_line(text: str) -> str:
    """Without line breaks and control characters: a reason is shown on other people's terminals."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _amount(text: str, before: int, pool: str) -> int:
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise UsageError(f"cannot scale {pool} to {text!r}: write a number up to 9999, +N for more or -N for fewer")
    number = int(found["number"])
    wanted = {"": number, "+": before + number, "-": before - number}[found["sign"]]
    if wanted < 0:
        raise RefusedError(f"cannot scale {pool} by {text}: it has only {before}; trapctl scale {pool} 0 stops all")
    return wanted


def _rollouts(rollouts: Sequence[Rollout]) -> Document:
    return {"schema": SCHEMA, "rollouts": [describe(rollout) for rollout in rollouts]}


def _wanted(call: Call) -> Document:
    view = call.desk.controller.pool(call.params["pool"])
    return {"schema": SCHEMA, "pool": view.spec.name, "paused": view.state.paused, "wanted": view.wanted_workers}


def _latest(view: PoolView) -> Document:
    if view.state.rollout is not None:
        return progress(view, view.state.rollout)
    nothing = f"pool {view.spec.name}: nothing was ever rolled out"
    return {"pool": view.spec.name, "rollout": None, "waiting": view.waiting, "message": nothing}


def _successor(call: Call, rollout: Rollout) -> int | None:
    latest = call.desk.controller.pool(rollout.pool).state.rollout
    return latest.id if latest is not None and latest.id > rollout.id else None


def _event(event: Event) -> Document:
    return {
        "id": event.id,
        "wall": event.wall,
        "kind": event.kind,
        "pool": event.pool,
        "instance": event.instance,
        "generation": event.generation,
        "rollout": event.rollout,
        "actor": event.actor,
        "reason": event.reason,
        "detail": event.detail,
        "duration": event.duration,
    }


def _generation(generation: Generation, views: Sequence[PoolView]) -> Document:
    number = generation.number
    refused = [refusal(view.state, candidate(generation, view.spec.name)) for view in views]
    return {
        "number": number,
        "fingerprint": generation.fingerprint,
        "versions": dict(generation.versions),
        "reason": generation.reason,
        "actor": generation.actor,
        "wall": generation.wall,
        "eager": generation.eager,
        "wanted_by": [view.spec.name for view in views if view.state.wanted == number],
        "good_for": [view.spec.name for view in views if number in view.state.good],
        "workers": sum(i.id.generation == number for view in views for i in view.instances),
        "refused": next((found.why for found in refused if found is not None), None),
    }


def _planned(view: PoolView) -> Document:
    actions = [
        {
            "verb": action.verb,
            "instance": action.instance.name if action.instance else None,
            "why": action.why,
            "text": str(action),
        }
        for action in view.actions
    ]
    rollout = view.state.rollout
    held = rollout.id if view.state.paused and rollout is not None and not rollout.state.over else None
    return {"name": view.spec.name, "actions": actions, "waiting": view.waiting, "held": held}
