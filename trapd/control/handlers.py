"""What carries out each command. Short: the controller does the work, these put it into documents.

The docstring of a handler is the command's description in docs/protocol.md; its types are those of the parameters and
of the answer there.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from trapd.contracts import Cost
from trapd.control import documents, requests
from trapd.control.drains import waits
from trapd.control.methods import Given
from trapd.control.needs import Context, Pins, Triggers
from trapd.control.progress import progress
from trapd.control.protocol import SCHEMA
from trapd.control.receipts import drains
from trapd.control.status import describe, status
from trapd.control.why import find_rollout, why
from trapd.errors import RefusedError, TrapdError, UsageError
from trapd.model import Generation, Rollout
from trapd.nearest import nearest
from trapd.rollout import task_changes
from trapd.rollout.refusals import candidate, refusal
from trapd.rollout.view import PoolView
from trapd.rollout.world import full_strength

Document = Mapping[str, object]
_LOOK = 10.0  # s; a file system that does not answer keeps nobody from a recycle
_AMOUNT = re.compile(r"(?P<sign>[+-]?)(?P<number>[0-9]{1,4})")


@dataclass(frozen=True)
class Call(Generic[Given]):
    """One request. ``params`` are checked (parameters.py); ``report`` sends progress."""

    context: Context
    triggers: Triggers
    pins: Pins
    params: Given
    actor: str
    report: Callable[[Document], Awaitable[None]]


class StillGoingError(TrapdError):
    """The waiting timed out; what was waited for goes on. Exit 75."""

    def __init__(self, message: str, data: Document) -> None:
        super().__init__(message)
        self.data = data


async def ping(call: Call[requests.Nothing]) -> documents.Pong:
    """Report the version and the process id of trapd."""
    about = call.context.about
    return {"schema": SCHEMA, "version": about.version, "pid": about.pid}


async def show_status(call: Call[requests.Nothing]) -> documents.Status:
    """Show the workers that run, and those that should run."""
    controller, about = call.context.controller, call.context.about
    views, memory, troubles = await asyncio.gather(controller.look(), controller.memory(), about.troubles())
    return status(call.context, views, memory, troubles, await waits(call.context, views))


async def recycle(call: Call[requests.OfRecycle]) -> documents.Rollouts:
    """Replace every worker of `pools` by one with the same code, as a new generation. Where that code is installed, the
    new workers have all that is installed beside it now; trapd looks at that first. The answer does not wait for the
    rollouts; `rollout.wait` does."""
    pools, reason = _configured(call, call.params["pools"]), one_line(call.params["reason"])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK):
            await call.context.look()
    return _rollouts(await call.triggers.recycle(pools, actor=call.actor, reason=reason))


async def retry(call: Call[requests.OfPools]) -> documents.Rollouts:
    """Try again, in `pools`, installed code that was rejected, or a rollout that failed and is held. Other code, or a
    reload with another `[app]`, is tried without this command. What is installed and held back because requirements, or
    libraries' recorded files, are not as they were, is taken as it is, in every pool. The answer comes at once."""
    return _rollouts(await call.triggers.retry(_configured(call, call.params["pools"]), actor=call.actor))


async def undo(call: Call[requests.OfUndo]) -> documents.Rollouts:
    """Take `pool` back to the good code before, or to generation `to`. The celeryconfig in force stays in force, unless
    `settings` are taken back as well. Code that is undone is not rolled out again by itself, whatever settings change,
    but by `retry` or by a second undo, which takes back the first. The answer comes at once."""
    name, params = find_pool(call, call.params["pool"]), call.params
    rollout = await call.triggers.undo(name, actor=call.actor, to=params["to"], settings=params["settings"])
    return _rollouts([rollout])


async def pause(call: Call[requests.OfPool]) -> documents.Wanted:
    """Hold `pool` until it is resumed. Its workers are kept running."""
    name = find_pool(call, call.params["pool"])
    await call.triggers.pause(name, actor=call.actor)
    return answer_wanted(call.context, name)


async def resume(call: Call[requests.OfPool]) -> documents.Wanted:
    """Resume `pool`, which was paused."""
    name = find_pool(call, call.params["pool"])
    await call.triggers.resume(name, actor=call.actor)
    return answer_wanted(call.context, name)


async def promote(call: Call[requests.OfPool]) -> documents.Wanted:
    """Let the rollout of `pool` go on, which waits for a person: `waiting` in the status says why. If none does, and
    runs hold the pool's code, their pins end, and what waited for them is rolled out."""
    name = find_pool(call, call.params["pool"])
    controller = call.context.controller
    if controller.pool(name).state.pins and (await controller.observe(name)).gate is None:
        await call.pins.override(name, actor=call.actor)
    else:
        await call.triggers.promote(name, actor=call.actor)
    return answer_wanted(call.context, name)


async def scale(call: Call[requests.OfScale]) -> documents.Scaled:
    """Set the number of workers of `pool`. `workers` is a text: "4" is the number itself, "+1" one more, "-1" one less,
    "reset" the number of trapd.toml. The number holds until the pool is scaled again."""
    name = find_pool(call, call.params["pool"])
    view = call.context.controller.pool(name)
    before = full_strength(view.spec, view.state)  # not the last pass's: two requests may come between passes
    text = call.params["workers"]
    wanted = view.spec.workers if text == "reset" else _amount(text, before, name)
    await call.triggers.scale(name, wanted, actor=call.actor)
    return {**answer_wanted(call.context, name), "before": before, "wanted": wanted}


async def rollout_wait(call: Call[requests.OfWait]) -> documents.Waited:
    """Send progress whenever it changes, until rollout `id` is over; then answer with the last progress. After
    `timeout` the wait is given up with error 75."""
    controller, number = call.context.controller, call.params["id"]
    timeout = call.params["timeout"]
    deadline = None if timeout is None else call.context.clock.now() + timeout
    sent: documents.Progress | None = None
    while True:
        changed = controller.changed()  # taken before the look, so that no change falls between
        rollout = find_rollout(call.context, number)
        now = progress(controller.pool(rollout.pool), rollout)
        if now != sent:
            await call.report(now)
            sent = now
        if rollout.state.over:
            return {"schema": SCHEMA, **now, "superseded_by": _successor(call.context, rollout)}
        left = None if deadline is None else deadline - call.context.clock.now()
        if left is not None and left <= 0:
            far = now["message"].rstrip(" .")
            again = f"wait again with trapctl rollout status {rollout.pool}"
            raise StillGoingError(f"rollout {number} still goes on ({far}); {again}", now)
        # not wait_for: it cancels what it waits for, and this future is everybody's
        await asyncio.wait([changed], timeout=left)


async def history(call: Call[requests.OfHistory]) -> documents.Rollouts:
    """List past rollouts of `pool` or of all, newest first, `limit` at most."""
    history = call.context.controller.history
    rollouts = history.rollouts(past(call, call.params["pool"]), call.params["limit"])
    return {**_rollouts(rollouts), "drains": drains(history, rollouts)}


async def generations(call: Call[requests.Nothing]) -> documents.Generations:
    """List the generations that are kept, newest first."""
    controller = call.context.controller
    known, views = controller.generations, controller.pools()
    found = [
        _generation(known[number], views, await controller.flaw(number), await controller.cost(number))
        for number in sorted(known, reverse=True)
    ]
    return {"schema": SCHEMA, "generations": found}


async def plan(call: Call[requests.OfPools]) -> documents.Plan:
    """Show what trapd would do now in `pools`, without doing it."""
    pools = [_planned(await call.context.controller.observe(name)) for name in named_or_all(call, call.params["pools"])]
    changes = any(pool["actions"] or pool["held"] is not None for pool in pools)
    return {"schema": SCHEMA, "changes": changes, "pools": pools}


async def explain(call: Call[requests.OfWhy]) -> documents.Why:
    """Show each step from the trigger to the present state. `subject` is a pool, a rollout's number as a text, or a
    worker."""
    return why(call.context, call.params["subject"], await waits(call.context, call.context.controller.pools()))


# --- the pieces ---


def find_pool(call: Call[Given], name: str) -> str:
    known = [view.spec.name for view in call.context.controller.pools()]
    if name in known:
        return name
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"there are: {', '.join(known)}"
    raise UsageError(f"cannot find pool {name!r}: {hint}")


def past(call: Call[Given], name: str | None) -> str | None:
    """The pool asked for, be it one that was removed; None means all."""
    return name if name is None or name in call.context.controller.history.pools() else find_pool(call, name)


def _named(call: Call[Given], names: Sequence[str]) -> list[str]:
    """The pools asked for, each once."""
    return [find_pool(call, name) for name in dict.fromkeys(names)]


def named_or_all(call: Call[Given], names: Sequence[str]) -> list[str]:
    """The pools asked for; if none was named all, those included that only have workers left. Raises UsageError."""
    return _named(call, names) or [view.spec.name for view in call.context.controller.pools()]


def _configured(call: Call[Given], names: Sequence[str]) -> list[str]:
    """The pools asked for; if none was named all that are configured."""
    return _named(call, names) or list(call.context.controller.specs)


def one_line(text: str) -> str:
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


def _rollouts(rollouts: Sequence[Rollout]) -> documents.Rollouts:
    return {"schema": SCHEMA, "rollouts": [describe(rollout) for rollout in rollouts], "drains": []}


def answer_wanted(context: Context, name: str) -> documents.Wanted:
    view = context.controller.pool(name)
    return {"schema": SCHEMA, "pool": name, "paused": view.state.paused, "wanted": view.wanted_workers}


def _successor(context: Context, rollout: Rollout) -> int | None:
    latest = context.controller.pool(rollout.pool).state.rollout
    return latest.id if latest is not None and latest.id > rollout.id else None


def _generation(
    generation: Generation, views: Sequence[PoolView], flaw: str, cost: Cost | None
) -> documents.Generation:
    number = generation.number
    refused = [refusal(view.state, candidate(generation, view.spec.name)) for view in views]
    return {
        "number": number,
        "digest": generation.fingerprint,
        "versions": dict(generation.versions),
        "reason": generation.reason,
        "actor": generation.actor,
        "at": generation.wall,
        "eager": generation.eager,
        "wanted_by": [view.spec.name for view in views if view.state.wanted == number],
        "good_for": [view.spec.name for view in views if number in view.state.good],
        "workers": sum(i.id.generation == number for view in views for i in view.instances),
        "refused": next((found.why for found in refused if found is not None), None),
        "size": cost.size if cost else None,
        "added": cost.added if cost else None,
        "seconds": cost.seconds if cost else None,
        "flaw": flaw,
    }


def _planned(view: PoolView) -> documents.PoolPlan:
    actions: list[documents.Action] = [
        {
            "verb": action.verb,
            "instance": action.instance.name if action.instance else None,
            "why": action.why,
            "text": str(action),
        }
        for action in view.actions
    ]
    rollout = view.state.rollout
    under_way = rollout if rollout is not None and not rollout.state.over else None
    held = under_way.id if view.state.paused and under_way is not None else None
    tasks = task_changes.sentence(under_way)
    return {"name": view.spec.name, "actions": actions, "waiting": view.waiting, "held": held, "tasks": tasks}
