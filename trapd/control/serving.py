"""`rollout.status`: does each pool serve what is installed at this moment? Nothing is answered before a look at it."""

from __future__ import annotations

import asyncio

from trapd.control import documents, requests
from trapd.control.handlers import Call, Document, StillGoingError, named_or_all
from trapd.control.needs import Context
from trapd.control.pinned import awaited
from trapd.control.problems import of_installed
from trapd.control.progress import progress
from trapd.control.protocol import SCHEMA
from trapd.control.status import describe_disk, described_problem
from trapd.model import Rollout, RolloutState
from trapd.rollout.installed import Standing, installed
from trapd.rollout.view import PoolView


async def rollout_status(call: Call[requests.OfStatus]) -> documents.RolloutStatus:
    """Look at what is installed, and show whether each of `pools` serves it, and how far the latest rollout of each is.
    With `wait` send progress whenever it changes, a [Progress](#progress) or an [Installed](#installed), and answer
    when each pool serves what is installed, or has refused it. After `timeout` the wait is given up with error 75."""
    names = named_or_all(call, call.params["pools"])
    try:
        async with asyncio.timeout(call.params["timeout"]):
            await call.context.look()
            return await _settled(call, names) if call.params["wait"] else _now(call.context, names)
    except TimeoutError:
        seen = _now(call.context, names)
    awaited = next((one["message"] for one in seen["installed"] if one["state"] == "awaited"), "")
    reason = awaited or "the look at what is installed has not ended"
    again = f"wait again with trapctl rollout status {' '.join(call.params['pools'])}".rstrip()
    raise StillGoingError(f"what is installed does not serve yet ({reason.rstrip(' .')}); {again}", seen)


async def _settled(call: Call[requests.OfStatus], names: list[str]) -> documents.RolloutStatus:
    sent: dict[str, Document] = {}
    while True:
        changed = call.context.controller.changed()  # taken before the look, so that no change falls between
        seen = _now(call.context, names)
        for pool, standing in zip(seen["pools"], seen["installed"], strict=True):
            moving = pool["rollout"] is not None and pool["rollout"]["ended"] is None
            news: Document = pool if moving else standing
            if sent.get(pool["pool"]) != news:
                sent[pool["pool"]] = news
                await call.report(news)
        if all(standing["state"] != "awaited" for standing in seen["installed"]):
            return seen
        await asyncio.wait([changed])  # everybody's: not to be cancelled with us


def _now(context: Context, names: list[str]) -> documents.RolloutStatus:
    views = [context.controller.pool(name) for name in names]
    return {
        "schema": SCHEMA,
        "disk": describe_disk(context.controller.disk),
        "pools": [_latest(view) for view in views],
        "installed": [_installed(context, view) for view in views],
        "problems": [described_problem(one, context.clock.wall()) for one in of_installed(context, views)],
        "rollouts": [pool["rollout"] for pool in map(_latest, views) if pool["rollout"] is not None],
    }


def _latest(view: PoolView) -> documents.Progress | documents.NoRollout:
    if view.state.rollout is not None:
        return progress(view, view.state.rollout)
    nothing = f"pool {view.spec.name}: nothing was ever rolled out"
    return {"pool": view.spec.name, "rollout": None, "waiting": view.waiting, "message": nothing}


def _installed(context: Context, view: PoolView) -> documents.Installed:
    found, latest = installed(view), view.state.rollout
    mine = latest if latest is not None and _is_of_installed(context, latest) else None
    return {
        "pool": view.spec.name,
        "state": found.standing.value,
        "why": found.why,
        "rollout": mine.id if mine else None,
        "message": _message(view, found.standing, found.why, mine),
    }


def _is_of_installed(context: Context, rollout: Rollout) -> bool:
    generation = context.controller.generations.get(rollout.generation)
    return generation is not None and generation.fingerprint == context.controller.disk.fingerprint


def _message(view: PoolView, standing: Standing, why: str, mine: Rollout | None) -> str:
    match standing:
        case Standing.SERVES if mine is not None and mine.state is RolloutState.COMPLETE:
            return progress(view, mine)["message"]
        case Standing.SERVES:
            return f"pool {view.spec.name}: {why}"
        case Standing.REFUSED:
            return f"pool {view.spec.name}: what is installed does not serve: {why}"
        case _:
            return f"pool {view.spec.name}: waiting: {awaited(view) or why}"
