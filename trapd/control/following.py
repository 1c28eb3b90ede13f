"""`events` and `events.follow`: a part of the history, and each event as it is recorded, from a cursor on. Beside them
`notify.test`: whether those who are to be told of events are reached."""

from __future__ import annotations

import asyncio

from trapd.control import documents, requests
from trapd.control.handlers import Call, past
from trapd.control.protocol import MOST_LINES, SCHEMA
from trapd.control.status import event
from trapd.errors import RefusedError


async def events(call: Call[requests.OfEvents]) -> documents.Events:
    """List the tail of the history of `pool`, of `rollout` or of all, oldest first, `limit` at most; with `since` the
    first events after that one instead. Ids have no gaps: a first id that is larger than `since` + 1 in an answer about
    all pools means that the events between are forgotten."""
    params = call.params
    found = call.context.controller.history.events(
        pool=past(call, params["pool"]), rollout=params["rollout"], since=params["since"], limit=params["limit"]
    )
    return {"schema": SCHEMA, "events": [event(each) for each in found]}


async def follow(call: Call[requests.OfFollow]) -> documents.Events:
    """Send each event of `pool`, or of all, after the event `since` as a progress, an [Event](#event), and go on with
    new events as they are recorded. The command ends with its connection; a client that connects again gives the id of
    the last event that it received, and misses none."""
    controller, pool, since = call.context.controller, past(call, call.params["pool"]), call.params["since"]
    while True:
        changed = controller.changed()  # taken before the look, so that no event falls between
        batch = controller.history.events(pool=pool, since=since, limit=MOST_LINES)
        for each in batch:
            await call.report(event(each))
            since = each.id
        if len(batch) < MOST_LINES:
            await asyncio.wait([changed])  # everybody's: not to be cancelled with us


async def notify_test(call: Call[requests.Nothing]) -> documents.NotifyTested:
    """Notify the command and the unit of `[notify]` of an event `notify-test`, whatever kinds are chosen. The answer
    comes when both have ended well; else the error has the reason."""
    notifier = call.context.notifier
    if notifier is None:
        raise RefusedError("cannot test notifications: this trapd sends none")
    return {"schema": SCHEMA, "told": await notifier.test(call.actor)}
